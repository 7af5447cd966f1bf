"""Every step's loss is told once, in order, and an epoch's last before anything follows."""

from __future__ import annotations

import warnings

import pytest
import torch
from ignite.engine import Engine, Events

from pgsam_monai.training import loss_reading
from pgsam_monai.training.loss_reading import tell_each_loss


class OnGpu(torch.Tensor):
    """A number that says it lies on a GPU."""

    @property
    def is_cuda(self):
        return True


def run(make, *, epochs=2, length=3):
    """What happened, in order, of a trainer whose loss is its iteration."""
    happened = []
    engine = Engine(lambda engine, batch: {"loss": make(float(engine.state.iteration))})
    tell_each_loss(engine, lambda engine, step, loss: happened.append((step, loss)))
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: happened.append("step"))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: happened.append("epoch"))
    engine.run(range(length), max_epochs=epochs)
    return happened


@pytest.mark.parametrize("make", [torch.tensor, float])
def test_on_a_cpu_it_is_told_when_the_step_is_done(make):
    assert run(make, epochs=1) == [(1, 1.0), "step", (2, 2.0), "step", (3, 3.0), "step", "epoch"]


def test_a_loss_with_its_history_is_read_without_a_word():
    """As a trainer has it that doesn't take its outputs apart."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = run(lambda value: torch.tensor(value, requires_grad=True) * 1, epochs=1)
    assert told[0] == (1, 1.0)


def test_a_decollated_output_has_it_too():
    happened = []
    engine = Engine(lambda engine, batch: [{"loss": 0.5}, {"loss": 0.5}])
    tell_each_loss(engine, lambda engine, step, loss: happened.append((step, loss)))
    engine.run([0])
    assert happened == [(1, 0.5)]


def test_a_gpus_is_told_a_step_later_and_an_epochs_last_at_once(monkeypatch):
    monkeypatch.setattr(loss_reading, "_fetch", lambda loss: lambda: float(loss.as_subclass(torch.Tensor)))
    happened = run(lambda value: torch.tensor(value).as_subclass(OnGpu))
    assert happened == [
        "step", (1, 1.0), "step", (2, 2.0), (3, 3.0), "step", "epoch",
        "step", (4, 4.0), "step", (5, 5.0), (6, 6.0), "step", "epoch",
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_reading_it_lets_no_gpu_wait():
    torch.cuda.set_sync_debug_mode("error")
    try:
        happened = run(lambda value: torch.full((), value, device="cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [entry for entry in happened if isinstance(entry, tuple)] == [(n, float(n)) for n in range(1, 7)]
