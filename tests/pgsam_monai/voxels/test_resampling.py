"""Linear resampling without torch."""

import numpy as np
import pytest
import torch

from pgsam_monai.transforms.resample import resample_volume
from pgsam_monai.voxels.resampling import Stretch, highest_class, reach, resample, resampled_classes


def test_a_row_by_hand():
    assert np.allclose(resample(np.array([[0.0, 4.0]]), [4])[0], [0, 1, 3, 4])
    # each of the two is a triangle over the six around its centre, cut at the edge: 1, 3, 3 and 1 shares of 4/7
    shares = np.array([0.75, 0.75, 0.25]) / 1.75
    assert np.allclose(resample(np.array([[0.0, 1.0, 2.0, 3.0]]), [2])[0, 0], shares @ [0, 1, 2])


def test_the_same_size_is_the_same_field():
    field = np.random.default_rng(0).random((2, 3, 4), dtype=np.float32)
    assert resample(field, [3, 4]) is field


@pytest.mark.parametrize("size", [(9, 14, 5), (3, 4, 2), (12, 3, 7), (5, 1, 5)])
def test_as_torch(size):
    field = np.random.default_rng(1).random((2, 6, 7, 5), dtype=np.float32)
    expected = resample_volume(torch.from_numpy(field), size).numpy()
    assert np.allclose(resample(field, size), expected, atol=1e-5)


def test_the_lower_class_wins_a_tie():
    assert highest_class(np.array([[1.0, 2.0], [1.0, 3.0], [0.0, 3.0]])).tolist() == [0, 1]
    assert highest_class(np.zeros((300, 1))).dtype == np.int16


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 9), (19, 31)), ((8, 9), (5, 20)), ((5, 6, 4), (9, 6, 11)), ((4, 5), (4, 5))]
)
def test_classes_are_those_of_all_logits_resampled(shape, size):
    logits = np.random.default_rng(2).normal(size=(4, *shape)).astype(np.float32)
    logits[0] += 1  # a background, and islands in it
    expected = highest_class(resample(logits, size))
    assert (resampled_classes(logits, size) == expected).mean() == 1.0


def test_a_class_wins_between_two_others():
    """The second best of both neighbours is the best in the middle."""
    logits = np.array([[2.0, -2.0], [-2.0, 2.0], [0.9, 0.9]], np.float32)
    assert resampled_classes(logits, [6]).tolist() == [0, 0, 2, 2, 1, 1]


@pytest.mark.parametrize(("source", "target"), [(6, 6), (6, 13), (13, 6), (7, 2), (1, 5), (5, 1)])
def test_planes_are_made_of_those_within_reach(source, target):
    firsts, lasts = reach(source, target)
    made = resample(np.eye(source, dtype=np.float32), [target])  # (source, target): what counts how much
    for place in range(target):
        counts = np.flatnonzero(made[:, place] > 1e-6)
        assert firsts[place] <= counts[0] and lasts[place] >= counts[-1]
    assert (np.diff(firsts) >= 0).all() and (np.diff(lasts) >= 0).all()
    assert firsts[0] == 0 and lasts[-1] == source - 1


@pytest.mark.parametrize("size", [(9, 14), (9, 4), (4, 14), (3, 4), (6, 14), (6, 7)])
@pytest.mark.parametrize("axis", [0, 1])
def test_classes_of_a_part_are_a_part_of_the_classes(axis, size):
    logits = np.random.default_rng(3).normal(size=(4, 6, 7)).astype(np.float32)
    source, target = logits.shape[axis + 1], size[axis]
    firsts, lasts = reach(source, target)
    whole = resampled_classes(logits, size)
    for start in range(target):
        stop = min(target, start + 2)
        first, last = firsts[start], lasts[stop - 1]
        stretch = Stretch(axis=axis, source=source, target=target, first=first, start=start, stop=stop)
        part = logits.take(range(first, last + 1), axis=axis + 1)
        wanted = [stop - start if each == axis else side for each, side in enumerate(size)]
        found = resampled_classes(part, wanted, stretch=stretch)
        assert (found == whole.take(range(start, stop), axis=axis)).all()
