import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pgsam_monai.networks.text.resize import resize_bicubic, resizing_matrix


@pytest.mark.parametrize("sides", [(512, 512), (96, 96), (300, 224), (224, 100), (225, 640)])
def test_equals_torch(sides):
    image = torch.rand(2, 3, *sides)
    wanted = F.interpolate(image, (224, 224), mode="bicubic", antialias=True)
    torch.testing.assert_close(resize_bicubic(image, (224, 224)), wanted, atol=5e-5, rtol=0)


def test_an_image_of_the_right_size_is_left_alone():
    image = torch.rand(1, 3, 8, 8)
    assert resize_bicubic(image, (8, 8)) is image


class Copies(TorchDispatchMode):
    """Counts copies from one place to another."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.name().startswith(("aten::_to_copy", "aten::copy_"))
        return func(*args, **(kwargs or {}))


def test_its_matrices_go_to_a_device_once():
    image = torch.empty(2, 3, 77, 99, device="meta")  # not where numbers come from
    for expected in (2, 0, 0):
        with Copies() as copies:
            assert resize_bicubic(image, (66, 55)).shape == (2, 3, 66, 55)
        assert copies.count == expected


def test_matrices_first_used_in_inference_mode_serve_training():
    with torch.inference_mode():
        resize_bicubic(torch.rand(1, 1, 31, 31), (17, 17))
    image = torch.rand(1, 1, 31, 31, requires_grad=True)
    resize_bicubic(image, (17, 17)).square().sum().backward()
    assert image.grad.abs().sum() > 0


def test_an_export_keeps_them_as_constants():
    class Resize(torch.nn.Module):
        def forward(self, image):
            return resize_bicubic(image, (9, 9))

    image = torch.rand(1, 1, 23, 21)
    wanted = resize_bicubic(image, (9, 9))
    torch.testing.assert_close(torch.export.export(Resize(), (image,)).module()(image), wanted)
    with FakeTensorMode() as mode:
        assert resize_bicubic(mode.from_tensor(image), (9, 9)).shape == (1, 1, 9, 9)
    assert torch.equal(resize_bicubic(image, (9, 9)), wanted)


def test_a_hand_sized_matrix():
    # Keys' kernel at the distances 1.25, 0.25, 0.75 and 1.75 of the third of eight output pixels from four.
    np.testing.assert_allclose(resizing_matrix(4, 8)[3] * 128, [-9, 111, 29, -3], atol=1e-5)
    np.testing.assert_allclose(resizing_matrix(8, 3).sum(axis=1), 1, atol=1e-6)
