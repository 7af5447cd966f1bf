"""Weights files that are not what was written, or can't be computed with, are refused with a sentence."""

from __future__ import annotations

import random
import zipfile

import pytest
import torch

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.weights.checks import is_finite
from pgsam_monai.weights.files import load_weights


@pytest.fixture
def file(tmp_path):
    torch.save({"body": torch.arange(5000.0), "step": 3}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_a_whole_file_is_read(file):
    assert load_weights(file)["body"][7] == 7 and load_weights(file)["step"] == 3


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.9])
def test_a_flipped_bit_is_noticed(file, place):
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)
    with pytest.raises(
        UserFault, match=r"^Weights file '.*model.pt' (isn't as it was written|can't be read).*; .*\.$"
    ):
        load_weights(file)


@pytest.mark.parametrize("kept", [0, 10, 1000, 20_000])
def test_a_cut_file_is_told(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserFault, match="^Weights file '.*model.pt'") as fault:
        load_weights(file)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_that_are_no_finite_numbers_are_refused(tmp_path, value, dtype):
    state = {"model": {"body": torch.zeros(8, dtype=dtype)}, "optimizer": [torch.zeros(2)]}
    state["model"]["body"][5] = value
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserFault, match=r"no finite numbers \(in 'model.body'\).*lower learning_rate"):
        load_weights(tmp_path / "model.pt")


def test_masks_may_be_infinite_but_not_nan(tmp_path):
    mask = torch.full((2, 2), -float("inf"))
    torch.save({"text.attn_mask": mask}, tmp_path / "clip.pt")
    load_weights(tmp_path / "clip.pt")
    torch.save({"text.attn_mask": mask * float("nan")}, tmp_path / "clip.pt")
    with pytest.raises(UserFault, match="no finite numbers"):
        load_weights(tmp_path / "clip.pt")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"w": torch.zeros(1).expand(10**9)}, "'w' is no plain tensor"),
        ({"w": torch.eye(3).to_sparse()}, "'w' is no plain tensor"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "'w' is no plain tensor"),
        ({1: torch.zeros(2)}, "holds no state dict but a dict"),
        ([torch.zeros(1)], "holds no state dict but a list"),
        (torch.zeros(1), "holds no state dict but a Tensor"),
        ({"w": open}, "can't be read as plain tensors"),
    ],
)
def test_what_is_no_plain_state_dict_is_refused(tmp_path, content, told):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserFault, match=told):
        load_weights(tmp_path / "model.pt")


def test_an_archive_that_unpacks_to_more_than_it_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10_000_000))
    with pytest.raises(UserFault, match="promises more than it holds"):
        load_weights(tmp_path / "model.pt")


def test_no_file_is_told(tmp_path):
    with pytest.raises(MissingFile, match="no weights at .*train the bundle first"):
        load_weights(tmp_path / "model.pt")


def test_empty_and_whole_numbered_tensors_are_finite():
    assert is_finite(torch.zeros(0)) and is_finite(torch.tensor([1, 2])) and is_finite(torch.zeros(3))


def test_whatever_happens_to_a_file_it_is_told_or_read_as_it_was(file):
    whole, chance = file.read_bytes(), random.Random(0)
    first = load_weights(file)
    for _ in range(150):
        content = bytearray(whole)
        start, length = chance.randrange(len(content)), chance.choice([1, 1, 4, 64, 2000])
        kind = chance.choice(["noise", "cut", "zeros", "twice"])
        if kind == "noise":
            content[start : start + length] = chance.randbytes(len(content[start : start + length]))
        elif kind == "cut":
            del content[start : start + length]
        elif kind == "zeros":
            content[start : start + length] = bytes(len(content[start : start + length]))
        else:
            content[start:start] = content[start : start + length]
        file.write_bytes(content)
        try:
            assert torch.equal(load_weights(file)["body"], first["body"])
        except UserFault as fault:
            assert str(fault).startswith("Weights file '") and "\n" not in str(fault)
