"""Grey values without torch."""

import numpy as np
import pytest

from pgsam_monai.runtime.network import scaling
from pgsam_monai.voxels.intensity import grey_range, scale_window


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.float32, np.int32])
def test_percentiles_are_numpys(dtype):
    voxels = np.random.default_rng(0).integers(0, 200, (7, 9, 5)).astype(dtype, order="F")
    voxels += dtype(3)
    assert grey_range(voxels, 0.5, 99.5) == pytest.approx(tuple(np.percentile(voxels, (0.5, 99.5))))


def test_where_percentiles_coincide_the_whole_range_counts():
    voxels = np.zeros((10, 10, 10), np.int16)
    voxels[0, 0, :2] = -5, 1000
    assert grey_range(voxels, 0.5, 99.5) == (-5, 1000)
    assert grey_range(np.full((2, 2), 7, np.int16), 0.5, 99.5) == (7, 7)


def test_a_window_by_hand():
    assert scale_window(np.array([-200, -100, 0, 100, 300], np.int16), -100, 100).tolist() == [
        0,
        0,
        0.5,
        1,
        1,
    ]


@pytest.mark.parametrize(
    "intensity",
    [{"scheme": "window", "low": -300, "high": 900}, {"scheme": "percentile", "low": 1, "high": 99}],
)
def test_tables_of_grey_values_scale_as_arithmetic_does(intensity):
    voxels = np.random.default_rng(1).integers(-32768, 32767, (2, 6, 5, 4), dtype=np.int16, endpoint=True)
    voxels[:, 0, 0, :2] = -32768, 32767
    scaled, expected = scaling(voxels, intensity)(voxels), scaling(voxels.astype(np.float32), intensity)
    assert np.allclose(scaled, expected(voxels.astype(np.float32)), atol=5e-4)
    assert scaled.dtype == np.float32 and scaled.shape == voxels.shape
