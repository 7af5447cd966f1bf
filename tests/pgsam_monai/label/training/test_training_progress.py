from __future__ import annotations

import json
import logging
import math

import pytest
from ignite.engine import Engine, Events

from pgsam_monai.label.training.progress import ProgressLines


def rehearse(tmp_path, dice, *, line_s=1000.0, before=False):
    """Three epochs of four steps, their losses 1, 2, …; `dice` is what each validation finds."""
    found = iter(dice)
    evaluator = Engine(lambda *_: None)
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(val_mean_dice=next(found))
    )
    trainer = Engine(lambda engine, _: {"loss": float(engine.state.iteration)})
    if dice:
        when = Events.EPOCH_COMPLETED | Events.STARTED if before else Events.EPOCH_COMPLETED
        trainer.add_event_handler(when, lambda _: evaluator.run([0]))
    ProgressLines(evaluator, str(tmp_path / "models/stats.json"), line_s=line_s).attach(trainer)
    trainer.run([0] * 4, max_epochs=3)
    return json.loads((tmp_path / "models/stats.json").read_text())


def lines(caplog):
    return [
        record.getMessage() for record in caplog.records if record.name.endswith("label.training.progress")
    ]


@pytest.fixture(autouse=True)
def heard(caplog):
    caplog.set_level(logging.INFO)


def test_each_epoch_has_a_line_with_its_loss_and_what_validation_found(tmp_path, caplog):
    stats = rehearse(tmp_path, [0.1, 0.5, 0.4, 0.45], before=True)
    before, start, first, second, third = lines(caplog)
    assert before == "Validation Dice before training: 0.100."
    assert start == "Training 3 epochs of 4 steps."
    assert first.startswith("Epoch 1 of 3: loss 2.500, validation Dice 0.500, best 0.500 (epoch 1); about ")
    assert second.startswith("Epoch 2 of 3: loss 6.500, validation Dice 0.400, best 0.500 (epoch 1)")
    assert third.endswith("about 0 s left.")
    assert stats == {"epoch": 3, "total_epochs": 3, "total_time": "00:00:00", "best_metric": 0.5}


def test_long_epochs_have_lines_within(tmp_path, caplog):
    rehearse(tmp_path, [], line_s=-1)
    told = lines(caplog)[1:]
    assert len(told) == 12
    assert told[1].startswith("Epoch 1 of 3, step 2 of 4: loss 1.500; about ")


def test_nothing_found_is_no_number(tmp_path, caplog):
    stats = rehearse(tmp_path, [math.nan] * 3)
    assert stats["best_metric"] == 0.0
    assert all("Dice" not in line for line in lines(caplog))
