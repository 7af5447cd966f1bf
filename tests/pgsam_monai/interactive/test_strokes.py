import numpy as np
import pytest
from scipy import ndimage

from pgsam_monai.interactive.strokes import LEAST_MM, MOST, clicks_along


def stroke(shape=(60, 50, 4)):
    """A brush of 7 pixels, from (10, 10) to (50, 40), on slice 2."""
    line = np.zeros(shape[:2], bool)
    for t in np.linspace(0, 1, 200):
        line[round(10 + 40 * t), round(10 + 30 * t)] = True
    drawn = np.zeros(shape, bool)
    drawn[..., 2] = ndimage.binary_dilation(line, iterations=3)
    return drawn


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_clicks_lie_in_the_middle_and_far_apart(axes):
    drawn = stroke().transpose(axes)
    clicks = clicks_along(np.argwhere(drawn), (1, 1, 1))
    assert 4 <= len(clicks) <= MOST and len(set(clicks)) == len(clicks)
    depth = ndimage.distance_transform_edt(np.pad(stroke()[..., 2], 1))[1:-1, 1:-1]
    places = [tuple(np.array(click)[np.argsort(axes)]) for click in clicks]
    assert all(drawn[click] for click in clicks) and all(depth[place[:2]] >= 2 for place in places)
    assert np.linalg.norm(np.array(places[0]) - (30, 25, 2)) < 4
    ends = np.array(places[1:3])[:, 0]
    assert sorted(ends)[0] < 16 and sorted(ends)[1] > 44
    gaps = [np.linalg.norm(np.subtract(a, b)) for i, a in enumerate(places) for b in places[:i]]
    assert min(gaps) >= LEAST_MM


def test_distances_are_millimetres():
    voxels = np.argwhere(stroke())
    assert len(clicks_along(voxels, (0.1, 0.1, 0.1))) < len(clicks_along(voxels, (1, 1, 1)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (5, 1, 4), (3, 3, 3)])
def test_whatever_was_drawn_becomes_a_click_at_least(shape):
    drawn = np.zeros((9, 9, 9), bool)
    drawn[tuple(slice(2, 2 + size) for size in shape)] = True
    clicks = clicks_along(np.argwhere(drawn), (1, 1, 1))
    assert clicks and all(drawn[click] for click in clicks)
