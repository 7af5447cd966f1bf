"""Room on the disk: asked for before a training, told as such when it ends in the middle."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest
import torch

from pgsam_monai.base.errors import UserFault, system_sentence
from pgsam_monai.training.checkpoints import save_checkpoint
from pgsam_monai.training.room import require_checkpoint_room

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch):
    return lambda count: monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, count))


def test_model_checkpoint_and_a_second_copy_must_fit(tmp_path, free):
    network = torch.nn.Linear(250, 1000, bias=False)  # 1 MB, all trained: a checkpoint of 3 MB, twice
    free(6_999_999)
    with pytest.raises(UserFault, match=r"about 0\.007 GB.* has 0\.007 GB free; make room, or train into"):
        require_checkpoint_room(tmp_path / "models", network)
    free(7_000_000)
    require_checkpoint_room(tmp_path / "models", network)
    network.requires_grad_(False)  # model and frozen part, and one of them a second time
    free(2_999_999)
    with pytest.raises(UserFault, match="make room"):
        require_checkpoint_room(tmp_path / "models", network)
    free(3_000_000)
    require_checkpoint_room(tmp_path / "models", network)


def test_what_will_be_replaced_counts_as_free(tmp_path, free):
    free(5_000_000)
    (tmp_path / "checkpoint_last.pt").write_bytes(bytes(2_000_000))
    require_checkpoint_room(tmp_path, torch.nn.Linear(250, 1000, bias=False))


def test_a_disk_that_is_full_in_the_middle_is_told_and_leaves_the_last_file(tmp_path, free, monkeypatch):
    save_checkpoint({"w": torch.ones(1)}, tmp_path / "model.pt")

    def full(content, file):
        file.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    free(4096)
    with pytest.raises(OSError, match="No space left") as fault:
        save_checkpoint({"w": torch.zeros(1)}, tmp_path / "model.pt")
    assert "no room left on the disk" in system_sentence(fault.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    assert torch.load(tmp_path / "model.pt")["w"].item() == 1


def test_other_faults_of_saving_stay_what_they_are(tmp_path, free, monkeypatch):
    free(10**9)
    monkeypatch.setattr(torch, "save", lambda content, file: (_ for _ in ()).throw(RuntimeError("else")))
    with pytest.raises(RuntimeError, match="else"):
        save_checkpoint({}, tmp_path / "model.pt")
