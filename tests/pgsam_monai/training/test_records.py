"""What a training shows and records: by the first of several processes only."""

import logging
from types import SimpleNamespace

import pytest
from ignite.engine import Engine, Events

from pgsam_monai.training import records
from pgsam_monai.training.records import LossRecords, TrainingProgress, ValidationRecords


def run(*handlers, epochs=1):
    """An engine whose loss is 0.5 and whose metric is 0.25, with these handlers."""
    engine = Engine(lambda engine, batch: [{"loss": 0.5}])
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(val_mean_dice=0.25)
    )
    for handler in handlers:
        handler.attach(engine)
    engine.run([0], max_epochs=epochs)


def test_losses_and_metrics_go_to_tensorboard(tmp_path):
    run(LossRecords(str(tmp_path / "loss"), "a bundle"), ValidationRecords(str(tmp_path / "metrics")))
    assert [len(list((tmp_path / part).glob("events*"))) for part in ("loss", "metrics")] == [1, 1]


def test_losses_go_to_mlflow_where_an_address_is_given(tmp_path, monkeypatch):
    asked = []

    def handler(**arguments):
        asked.append(arguments)
        return SimpleNamespace(attach=lambda engine: None)

    monkeypatch.setattr(records, "MLFlowHandler", handler)
    run(LossRecords(str(tmp_path), "a bundle"))
    run(LossRecords(str(tmp_path), "a bundle", "http://127.0.0.1:5000"))
    (arguments,) = asked
    assert (arguments["tracking_uri"], arguments["experiment_name"]) == ("http://127.0.0.1:5000", "a bundle")
    assert arguments["output_transform"]([{"loss": 0.5}]) == 0.5


@pytest.mark.parametrize("lines", [True, False])
def test_lines_of_the_log_can_be_left_out(lines, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run(ValidationRecords(str(tmp_path), lines=lines))
    assert ("val_mean_dice: 0.2500" in caplog.text) == lines


def test_one_bar_runs_over_the_whole_training(capfd):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics = {"val_mean_dice": 0.75}
    run(TrainingProgress(evaluator), epochs=3)
    told = capfd.readouterr().err
    assert "3/3" in told and "loss=0.500" in told and "dice=0.750" in told


def test_other_processes_are_silent(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("RANK", "1")
    run(
        LossRecords(str(tmp_path), "x", "file:///nowhere"),
        ValidationRecords(str(tmp_path)),
        TrainingProgress(),
    )
    assert not list(tmp_path.iterdir()) and "training" not in capfd.readouterr().err
