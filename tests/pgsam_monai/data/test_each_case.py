"""Cases one by one, those that can be read."""

import pytest
import torch
from monai.data import Dataset

from pgsam_monai.base.errors import UserFault, root_of
from pgsam_monai.base.volume import ReadError
from pgsam_monai.data.each_case import EachCase


def cases(*names):
    def read(case):
        if case["name"] == "broken":
            try:
                raise ReadError("broken.nii.gz", "it is cut off")
            except ReadError as fault:
                raise RuntimeError("applying transform") from fault  # as MONAI does
        if case["name"] == "ours":
            raise RuntimeError("a fault of ours")
        return {**case, "image": torch.zeros(1, 2, 2)}

    return EachCase(Dataset([{"name": name} for name in names], read))


def test_what_cannot_be_read_is_passed_over_each_time_round():
    loader = cases("a", "broken", "b")
    for _ in range(2):
        assert [batch["name"] for batch in loader] == [["a"], ["b"]]
        assert list(loader.unreadable) == ["broken"] and "cut off" in loader.unreadable["broken"]
    assert next(iter(loader))["image"].shape == (1, 1, 2, 2)
    assert not loader.unreadable


def test_the_only_case_raises():
    with pytest.raises(RuntimeError) as fault:
        list(cases("broken"))
    assert isinstance(root_of(fault.value), UserFault)


def test_a_fault_of_ours_is_no_unreadable_case():
    with pytest.raises(RuntimeError) as fault:
        list(cases("a", "ours"))
    assert "ours" in str(root_of(fault.value))
