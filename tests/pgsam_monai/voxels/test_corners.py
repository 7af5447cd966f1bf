"""Resizing from corner to corner is SciPy's, axis by axis."""

import numpy as np
import pytest
from scipy.ndimage import zoom

from pgsam_monai.voxels.corners import cubic, nearest_places

SIZES = [(37, 45, 32), (20, 24, 32), (64, 51, 28)]


def zoomed(image, size, order):
    """As the papers call it."""
    return zoom(image, [target / own for own, target in zip(image.shape, size, strict=True)], order=order)


def test_pixels_by_hand():
    assert nearest_places(3, 5).tolist() == [0, 1, 1, 2, 2]  # 0, 0.5, 1, 1.5, 2
    assert nearest_places(5, 3).tolist() == [0, 2, 4]
    assert cubic(np.array([[0.0, 1.0, 4.0]]), (1, 5))[0, [0, 2, 4]] == pytest.approx([0, 1, 4], abs=1e-6)


@pytest.mark.parametrize(("height", "width", "side"), SIZES)
def test_the_spline_is_scipys(height, width, side):
    image = np.random.default_rng(0).random((2, height, width), dtype=np.float32)
    expected = np.stack([zoomed(channel, (side, side), 3) for channel in image])
    found = cubic(image, (side, side))
    assert found.dtype == np.float32
    assert np.allclose(found, expected, rtol=0, atol=1e-7)
    by_way = np.stack([zoomed(zoomed(channel, (30, 30), 3), (side, side), 3) for channel in image])
    assert np.allclose(cubic(image, (side, side), via=(30,)), by_way, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "side"), [*SIZES, (224, 32, 224)])
def test_the_nearest_pixels_are_scipys(height, width, side):
    """The last of 32 pixels enlarged to 224 lies beyond the edge by rounding, and SciPy leaves it empty."""
    labels = np.random.default_rng(0).integers(1, 9, (height, width))
    rows, columns = nearest_places(height, side), nearest_places(width, side)
    found = np.where((rows < 0)[:, None] | (columns < 0), 0, labels[rows][:, columns])
    assert np.array_equal(found, zoomed(labels, (side, side), 0))
    assert (columns[-1] == -1) == (width == 32 and side == 224)


def test_slices_of_the_right_size_are_left_alone():
    image = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    assert cubic(image, (8, 8)) is image
