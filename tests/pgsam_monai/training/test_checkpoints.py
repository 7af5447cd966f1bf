"""Checkpoints and early stopping on a one-parameter network with a hand-made metric."""

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events

from pgsam_monai.training.checkpoints import EarlyStop, TrainingCheckpoints, save_checkpoint


def make_run(folder, metrics, *, epochs, selection="best", patience=0):
    """A trainer adding 1 to the weight per epoch, and an evaluator giving `metrics` in turn."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = Engine(lambda engine, batch: network.weight.data.add_(1.0))
    trainer.state.max_epochs, trainer.state.epoch_length = epochs, 1
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: None)
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda engine: engine.state.metrics.update(val_mean_dice=metrics[trainer.state.epoch - 1]),
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    checkpoints = TrainingCheckpoints(
        folder, network=network, optimizer=optimizer, lr_scheduler=schedule, selection=selection
    )
    checkpoints.attach(trainer, evaluator)
    EarlyStop(checkpoints, patience).attach(trainer)
    return SimpleNamespace(
        trainer=trainer, network=network, checkpoints=checkpoints, run=lambda: trainer.run([0])
    )


def weight(folder, name="model.pt"):
    state = torch.load(folder / name, weights_only=True)
    return (state["model"] if name != "model.pt" else state)["weight"].item()


def test_best_and_last(tmp_path):
    make_run(tmp_path, [0.1, 0.7, 0.3], epochs=3).run()
    assert weight(tmp_path) == 2.0
    assert weight(tmp_path, "checkpoint_last.pt") == 3.0


def test_last_selection_ignores_the_metric(tmp_path):
    make_run(tmp_path, [0.1, 0.7, 0.3], epochs=3, selection="last").run()
    assert weight(tmp_path) == 3.0
    with pytest.raises(ValueError, match="'best' or 'last'"):
        make_run(tmp_path, [], epochs=1, selection="first")


def test_an_undefined_metric_still_leaves_a_model(tmp_path):
    make_run(tmp_path, [float("nan")] * 2, epochs=2).run()
    assert weight(tmp_path) == 2.0


def test_a_resumed_run_keeps_the_best_of_before(tmp_path):
    make_run(tmp_path, [0.9, 0.2], epochs=2).run()
    second = make_run(tmp_path, [0.0, 0.0, 0.5, 0.4], epochs=4)
    second.checkpoints.resume(second.trainer)
    second.run()
    assert second.network.weight.item() == 4.0
    assert weight(tmp_path) == 1.0
    assert second.checkpoints.best == {"metric": 0.9, "epoch": 1}


def test_a_finished_training_is_not_started_again(tmp_path):
    make_run(tmp_path, [0.9, 0.2], epochs=2).run()
    again = make_run(tmp_path, [0.0, 0.0], epochs=2)
    again.checkpoints.resume(again.trainer)
    again.run()
    assert again.network.weight.item() == 2.0


def test_nothing_to_resume_starts_at_the_beginning(tmp_path):
    run = make_run(tmp_path, [0.5], epochs=1)
    run.checkpoints.resume(run.trainer)
    run.run()
    assert weight(tmp_path) == 1.0


def test_early_stop_waits_for_its_patience(tmp_path):
    run = make_run(tmp_path, [0.5, 0.4, 0.3, 0.2, 0.1], epochs=5, patience=2)
    run.run()
    assert run.network.weight.item() == 3.0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "model.pt"
    save_checkpoint({"weight": torch.zeros(1)}, file)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint({"weight": lambda: None}, file)
    assert torch.load(file, weights_only=True)["weight"].item() == 0.0
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
