"""A training whose numbers are no numbers ends at once, says where, and saves nothing of it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine

from pgsam_monai.base.errors import UserFault
from pgsam_monai.training.checkpoints import LAST_CHECKPOINT, TrainingCheckpoints, save_checkpoint
from pgsam_monai.training.divergence import SKIPPED, Diverged, FiniteLoss

NAN, INF = math.nan, math.inf


def train(losses, *, scaler=None, as_list=True):
    """An engine whose iterations give these losses; returns how many it made."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.25)

    def step(engine, batch):
        output = {"loss": torch.tensor(losses[engine.state.iteration - 1])}
        return [output] if as_list else output

    engine = Engine(step)
    engine.scaler = scaler
    FiniteLoss(optimizer).attach(engine)
    engine.run(range(5), max_epochs=len(losses) // 5)
    return engine.state.iteration


@pytest.mark.parametrize("loss", [NAN, INF, -INF])
@pytest.mark.parametrize("as_list", [True, False])
def test_the_first_loss_that_is_no_number_ends_it_with_place_and_remedy(loss, as_list):
    with pytest.raises(Diverged, match=r"epoch 2, iteration 7, the loss is .*inf|nan.* lower than 0.25"):
        train([1.0] * 6 + [loss] * 4, as_list=as_list)


def test_finite_losses_go_through_however_large():
    assert train([1e38] * 10) == 10


def test_a_loss_scaler_may_skip_a_few_steps_in_a_row():
    scaler = SimpleNamespace()
    assert train([NAN] * SKIPPED + [1.0] + [INF] * SKIPPED + [1.0] * 4, scaler=scaler) == 25
    with pytest.raises(Diverged, match=f"epoch 3, iteration {SKIPPED + 1},"):
        train([NAN] * 25, scaler=scaler)


@pytest.mark.parametrize("value", [NAN, INF])
def test_what_is_no_finite_number_is_never_saved(tmp_path, value):
    file = tmp_path / "model.pt"
    save_checkpoint({"w": torch.ones(1)}, file)
    for content in (
        {"w": torch.tensor([value])},
        {"optimizer": {"state": {0: {"exp": torch.tensor([value])}}}},
    ):
        with pytest.raises(Diverged, match="lower learning_rate"):
            save_checkpoint(content, file)
    assert torch.load(file)["w"].item() == 1 and [f.name for f in tmp_path.iterdir()] == ["model.pt"]


def checkpoints(folder, network):
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return TrainingCheckpoints(str(folder), network=network, optimizer=optimizer, lr_scheduler=schedule)


def test_weights_without_a_number_leave_model_and_its_predecessor_as_they_were(tmp_path):
    network = torch.nn.Linear(1, 1)
    checkpoints(tmp_path, network).save_model()
    before = (tmp_path / "model.pt").read_bytes()
    torch.nn.init.constant_(network.weight, NAN)
    with pytest.raises(Diverged):
        checkpoints(tmp_path, network).save_model()
    assert (tmp_path / "model.pt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_the_model_of_an_earlier_training_is_kept_once(tmp_path):
    network = torch.nn.Linear(1, 1, bias=False)
    for first, second in ((1.0, 2.0), (3.0, 4.0)):
        own = checkpoints(tmp_path, network)
        for value in (first, second):
            torch.nn.init.constant_(network.weight, value)
            own.save_model()
    kept = {file.name: torch.load(file)["weight"].item() for file in tmp_path.iterdir()}
    assert kept == {"model.pt": 4.0, "previous.pt": 2.0}


@pytest.mark.parametrize("harm", ["cut", "flip", "nan", "lacking", "misshapen", "other"])
def test_a_damaged_checkpoint_is_told_with_what_to_do(tmp_path, harm):
    network = torch.nn.Linear(500, 2)
    own, file = checkpoints(tmp_path, network), tmp_path / LAST_CHECKPOINT
    trainer = Engine(lambda engine, batch: None)
    trainer.state.epoch, trainer.state.max_epochs, trainer.state.epoch_length = 1, 3, 1
    own.save_last(trainer)
    content, state = bytearray(file.read_bytes()), torch.load(file)
    content[len(content) // 3] ^= 1
    harmed = {
        "nan": {**state, "model": {k: v * NAN for k, v in state["model"].items()}},
        "lacking": {k: v for k, v in state.items() if k != "epoch"},
        "misshapen": {**state, "best": 3},
        "other": {**state, "model": torch.nn.Linear(400, 2).state_dict()},
    }
    if harm in harmed:
        torch.save(harmed[harm], file)
    else:
        file.write_bytes(content if harm == "flip" else content[:-1000])
    with pytest.raises(
        UserFault, match="checkpoint_last.pt.*delete checkpoint_last.pt to train anew"
    ) as fault:
        checkpoints(tmp_path, torch.nn.Linear(500, 2)).resume(trainer)
    assert len(str(fault.value)) < 800
