"""Workers live as long as the training, and see what its sampler draws in each epoch."""

from __future__ import annotations

import atexit
import multiprocessing
import os

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.utils import set_determinism
from torch import nn

from pgsam_monai.data.loading import TrainingLoader
from pgsam_monai.data.samplers import ClassAwareSliceSampler
from pgsam_monai.training.handlers import EpochSeed
from pgsam_monai.training.preparing import end_workers_after


class Draws(torch.utils.data.Dataset):
    """Each draw's own seed as its image, and who fetched it."""

    classes = ()

    def __len__(self):
        return 50

    def __getitem__(self, draw):
        seed = torch.tensor([float(draw.seed % 9973)])
        return {"image": seed, "label": seed * 0 + os.getpid()}


def train(epochs, *, num_workers, begin=0):
    """Weight, draws per epoch and fetching processes of a training with dropout that goes on after epoch `begin`."""
    set_determinism(0)
    dataset = Draws()
    sampler = ClassAwareSliceSampler(dataset, draws_per_epoch=8, foreground_share=0, seed=3)
    loader = TrainingLoader(dataset, sampler, batch_size=2, num_workers=num_workers)
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=epochs, train_data_loader=loader, network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-6), loss_function=lambda out, label: out.sum(),
        train_handlers=[EpochSeed(5)], decollate=False,
    )  # fmt: skip
    seen, fetchers, dropped = {}, set(), {}

    def note(engine):
        epoch, output = engine.state.epoch, engine.state.output
        seen.setdefault(epoch, []).extend(output["image"].flatten().tolist())
        dropped.setdefault(epoch, []).append(float(torch.rand(())))
        fetchers.update(output["label"].flatten().tolist())

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    end_workers_after(trainer)
    trainer.state.epoch, trainer.state.iteration = begin, begin * trainer.state.epoch_length
    trainer.run()
    set_determinism(None)
    return seen, dropped, fetchers


@pytest.fixture(scope="module")
def undisturbed():
    return train(3, num_workers=2)


def test_three_epochs_start_each_worker_once(undisturbed):
    _, _, fetchers = undisturbed
    assert len(fetchers) == 2 and os.getpid() not in fetchers


def test_workers_see_each_epochs_own_draws(undisturbed):
    seen, _, _ = undisturbed
    alone, _, here = train(3, num_workers=0)
    assert here == {os.getpid()} and seen == alone
    assert [len(drawn) for drawn in seen.values()] == [8, 8, 8]
    assert len({tuple(drawn) for drawn in seen.values()}) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_training_draws_and_drops_as_an_undisturbed_one(undisturbed, num_workers):
    seen, dropped, _ = undisturbed
    again, dropped_again, _ = train(3, num_workers=num_workers, begin=1)
    assert again == {epoch: seen[epoch] for epoch in (2, 3)}
    assert dropped_again == {epoch: dropped[epoch] for epoch in (2, 3)}


def test_no_worker_outlives_its_training():
    before = set(multiprocessing.active_children())
    train(2, num_workers=2)
    assert set(multiprocessing.active_children()) == before


def test_what_a_failed_training_leaves_is_ended_before_torch_waits_for_it(monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", lambda call, *arguments: at_exit.append((call, *arguments)))
    before = set(multiprocessing.active_children())
    loader = TrainingLoader(list(range(4)), range(4), batch_size=1, num_workers=1)
    list(loader), list(loader)
    assert len(set(multiprocessing.active_children()) - before) == 1
    call, *arguments = at_exit[-1]
    assert len([entry for entry in at_exit if entry[0] is call]) == 1
    call(*arguments)
    assert set(multiprocessing.active_children()) == before
    del loader
    call(*arguments)


def test_another_pass_after_the_end_starts_others():
    dataset = Draws()
    sampler = ClassAwareSliceSampler(dataset, draws_per_epoch=2, foreground_share=0, seed=3)
    loader = TrainingLoader(dataset, sampler, batch_size=1, num_workers=1)
    first = [float(batch["image"]) for batch in loader]
    loader.end_workers()
    loader.end_workers()
    assert [float(batch["image"]) for batch in loader] == first
    loader.end_workers()
