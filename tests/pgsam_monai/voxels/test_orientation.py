"""Views in another orientation."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation

from pgsam_monai.voxels.orientation import oriented

OBLIQUE = np.array([[0.1, -2.0, 0.0, 5], [0.9, 0.2, 0.1, -3], [0.0, 0.1, -3.0, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("axcodes", ["PLS", "RAS", "SPL", "IAR"])
@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE])
def test_as_monai(axcodes, affine):
    voxels = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    expected = Orientation(axcodes=axcodes, labels=None)(MetaTensor(torch.from_numpy(voxels), affine=affine))
    assert (oriented(voxels, affine, axcodes) == expected.as_tensor().numpy()).all()


def test_what_is_written_into_the_view_stands_in_the_volume():
    voxels = np.zeros((2, 3, 4), np.uint8)
    oriented(voxels, np.diag([-1.0, 1, 1, 1]), "PLS")[0, 0, 0] = 1
    assert voxels[0, 2, 0] == 1 and voxels.sum() == 1  # posterior row, left column, inferior slice
    assert oriented(voxels, np.eye(4), "") is voxels
