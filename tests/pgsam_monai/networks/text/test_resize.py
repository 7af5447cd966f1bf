import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pgsam_monai.networks.text.resize import resize_bicubic, resizing_matrix


@pytest.mark.parametrize("sides", [(512, 512), (96, 96), (300, 224), (224, 100), (225, 640)])
def test_equals_torch(sides):
    image = torch.rand(2, 3, *sides)
    wanted = F.interpolate(image, (224, 224), mode="bicubic", antialias=True)
    torch.testing.assert_close(resize_bicubic(image, (224, 224)), wanted, atol=5e-5, rtol=0)


def test_an_image_of_the_right_size_is_left_alone():
    image = torch.rand(1, 3, 8, 8)
    assert resize_bicubic(image, (8, 8)) is image


def test_a_hand_sized_matrix():
    # Keys' kernel at the distances 1.25, 0.25, 0.75 and 1.75 of the third of eight output pixels from four.
    np.testing.assert_allclose(resizing_matrix(4, 8)[3] * 128, [-9, 111, 29, -3], atol=1e-5)
    np.testing.assert_allclose(resizing_matrix(8, 3).sum(axis=1), 1, atol=1e-6)
