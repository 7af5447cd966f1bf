import pytest
import torch

from pgsam_monai.inference.slices import PrecisionInferer
from pgsam_monai.networks.precision import autocast, choose_dtype, full_precision, usable_device


def test_named_precisions():
    assert choose_dtype("cpu", "fp32") is None
    assert choose_dtype("cpu", "bf16") is torch.bfloat16
    assert choose_dtype("cuda", "fp16") is torch.float16
    assert choose_dtype("cpu", "auto") in (None, torch.bfloat16)


def test_faulty_precisions():
    with pytest.raises(ValueError, match="needs a GPU"):
        choose_dtype("cpu", "fp16")
    with pytest.raises(ValueError, match="got 'half'"):
        choose_dtype("cpu", "half")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "cuda:x"])
def test_devices_that_are_not_here(device):
    assert usable_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=f"There is no device '{device}' here; take cpu"):
        usable_device(device)


def test_autocast_changes_the_type_of_products():
    square = torch.eye(4)
    with autocast("cpu", "bf16"):
        assert (square @ square).dtype is torch.bfloat16
    with autocast("cpu", "fp32"):
        assert (square @ square).dtype is torch.float32


def test_the_inferer_runs_the_network_in_it():
    layer = torch.nn.Linear(3, 2)
    assert PrecisionInferer("bf16")(torch.ones(1, 3), layer).dtype is torch.bfloat16
    assert PrecisionInferer("fp32")(torch.ones(1, 3), layer).dtype is torch.float32


def test_full_precision_within_autocast():
    square, device = torch.eye(4), torch.device("cpu")
    with autocast("cpu", "bf16"):
        with full_precision(device):
            assert (square @ square).dtype is torch.float32
        with full_precision(device, wanted=False):
            assert (square @ square).dtype is torch.bfloat16
