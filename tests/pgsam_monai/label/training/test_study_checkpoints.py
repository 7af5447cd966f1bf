from __future__ import annotations

import logging
import math
import os
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from pgsam_monai.label.training import study_checkpoints
from pgsam_monai.label.training.study_checkpoints import StudyCheckpoints


class Rehearsal:
    """A training that is told what its validation finds; weight n is epoch n's."""

    def __init__(self, folder, selection="best"):
        self.folder, self.network = folder, nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.network.weight)
        torch.save({"weight": torch.full((1, 1), -1.0)}, folder / "model.pt")
        self.checkpoints = StudyCheckpoints(
            str(folder), network=self.network, optimizer=None, lr_scheduler=None, selection=selection
        )
        self.checkpoints.attach(Engine(lambda *_: None), Engine(lambda *_: None))

    def epoch(self, number, dice=None):
        nn.init.constant_(self.network.weight, number)
        trainer = SimpleNamespace(state=SimpleNamespace(epoch=number))
        if dice is not None:
            metrics = {"val_mean_dice": torch.tensor(dice)}
            self.checkpoints.keep_best(SimpleNamespace(state=SimpleNamespace(metrics=metrics)), trainer)
        if number:
            self.checkpoints.save_last(trainer)
        return trainer

    def end(self, number):
        self.checkpoints.ensure_model(SimpleNamespace(state=SimpleNamespace(epoch=number)))

    def held(self):
        """File -> whose weights it holds."""
        return {
            file.stem: int(torch.load(file, weights_only=True)["weight"])
            for file in self.folder.iterdir()
            if file.suffix == ".pt"
        }


def test_what_is_better_than_the_start_serves_at_once(tmp_path):
    training = Rehearsal(tmp_path)
    training.epoch(0, 0.5)
    assert training.held() == {"model": -1}
    training.epoch(1, 0.4)
    assert training.held() == {"model": -1}
    training.epoch(2, 0.6)
    assert training.held() == {"model": 2, "previous": -1}
    training.epoch(3, 0.7)
    training.epoch(4, 0.65)
    training.end(4)
    assert training.held() == {"model": 3, "previous": -1}


def test_what_is_worse_than_the_start_never_serves(tmp_path, caplog):
    training = Rehearsal(tmp_path)
    training.epoch(0, 0.5)
    training.epoch(1, 0.5)
    with caplog.at_level(logging.INFO):
        training.end(1)
    assert training.held() == {"model": -1}
    assert "No epoch was better than before the training (validation Dice 0.500)" in caplog.text


def test_with_an_unknown_start_the_best_waits_for_the_end(tmp_path):
    training = Rehearsal(tmp_path)
    for number, dice in ((1, 0.2), (2, 0.4), (3, 0.3)):
        training.epoch(number, dice)
        assert training.held()["model"] == -1
    assert training.held()["unfinished"] == 2
    training.end(3)
    assert training.held() == {"model": 2, "previous": -1}


def test_without_validation_the_last_waits_for_the_end(tmp_path):
    training = Rehearsal(tmp_path, selection="last")
    training.epoch(1)
    training.epoch(2)
    assert training.held() == {"model": -1, "unfinished": 2}
    training.end(2)
    assert training.held() == {"model": 2, "previous": -1}


def test_without_any_structure_to_find_the_last_is_kept_and_told(tmp_path, caplog):
    training = Rehearsal(tmp_path)
    training.epoch(0, math.nan)
    training.epoch(1, math.nan)
    with caplog.at_level(logging.WARNING):
        training.end(1)
    assert training.held() == {"model": 1, "previous": -1}
    assert "No study for validation holds a structure" in caplog.text


def test_remains_of_killed_trainings_go_and_those_of_living_ones_stay(tmp_path):
    dead, alive = tmp_path / ".model.pt.99999999.partial", tmp_path / f".model.pt.{os.getpid()}.partial"
    for file in (dead, alive, tmp_path / "unfinished.pt"):
        file.write_bytes(b"")
    Rehearsal(tmp_path)
    assert not dead.exists() and alive.exists() and not (tmp_path / "unfinished.pt").exists()


@pytest.mark.parametrize("links", [True, False])
def test_the_previous_model_is_kept_on_any_file_system(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(
            study_checkpoints.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links"))
        )
    (tmp_path / "model.pt").write_bytes(b"present")
    (tmp_path / "previous.pt").write_bytes(b"older")
    study_checkpoints.keep_previous(tmp_path / "model.pt")
    assert (tmp_path / "previous.pt").read_bytes() == (tmp_path / "model.pt").read_bytes() == b"present"
    assert len(list(tmp_path.iterdir())) == 2
