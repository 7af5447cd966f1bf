"""Seeds by epoch, clipped gradients, stage weights, when a network is asked."""

import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer

from pgsam_monai.training.handlers import AskingPhase, EpochSeed, GradientClip, StageWeights


def test_epoch_seed_depends_on_the_epoch_only():
    drawn = []
    engine = Engine(lambda engine, batch: drawn.append(torch.rand(1).item()))
    EpochSeed(7).attach(engine)
    engine.run([0], max_epochs=2)
    torch.rand(5)
    again = list(drawn)
    drawn.clear()
    other = Engine(lambda engine, batch: drawn.append(torch.rand(1).item()))
    EpochSeed(7).attach(other)
    other.run([0], max_epochs=2)
    assert drawn == again and again[0] != again[1]


def test_gradients_are_clipped_to_the_norm():
    network = torch.nn.Linear(2, 1, bias=False)
    network.weight.grad = torch.tensor([[3.0, 4.0]])
    clip = GradientClip(network, torch.optim.SGD(network.parameters(), lr=1.0), max_norm=1.0)
    clip(SimpleNamespace(scaler=None))
    assert torch.allclose(network.weight.grad, torch.tensor([[0.6, 0.8]]), atol=1e-4)


def trained_once(loss_of, *, max_norm, scaler=None):
    """The weight [1, 1] after MONAI's trainer made one step of SGD at rate 1 with the gradient that the loss has."""
    network = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    trainer = SupervisedTrainer(
        device="cpu", max_epochs=1, train_data_loader=[{"image": torch.tensor([[3.0, 4.0]]), "label": torch.zeros(1)}],
        network=network, optimizer=optimizer, loss_function=loss_of, decollate=False,
        train_handlers=[GradientClip(network, optimizer, max_norm)], amp=scaler is not None,
    )  # fmt: skip
    # MONAI makes one for CUDA as it starts.
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: setattr(engine, "scaler", scaler))
    trainer.run()
    return network.weight.detach()


def test_without_a_norm_a_step_takes_the_whole_gradient():
    def loss_of(answer, label):
        return answer

    assert torch.equal(trained_once(loss_of, max_norm=None), torch.tensor([[-2.0, -3.0]]))
    assert torch.allclose(trained_once(loss_of, max_norm=1.0), torch.tensor([[0.4, 0.2]]), atol=1e-4)


@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_a_loss_scaler_leaves_out_a_step_without_finite_gradients(max_norm):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    weight = trained_once(lambda answer, label: answer * math.inf, max_norm=max_norm, scaler=scaler)
    assert torch.equal(weight, torch.ones(1, 2)) and scaler.get_scale() == 2.0


@pytest.mark.parametrize(("max_norm", "expected"), [(None, [-2.0, -3.0]), (1.0, [0.4, 0.2])])
def test_a_scaled_loss_is_clipped_by_its_own_gradients(max_norm, expected):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    weight = trained_once(lambda answer, label: answer, max_norm=max_norm, scaler=scaler)
    assert torch.allclose(weight, torch.tensor([expected]), atol=1e-4)


def test_stage_weights_lay_the_published_epochs_out_over_this_training():
    loss, seen = SimpleNamespace(weights=None), []
    trainer = Engine(lambda engine, batch: seen.append(loss.weights))
    StageWeights(loss, "paper", epochs=3).attach(trainer)
    trainer.run([0], max_epochs=3)
    expected = [(1 - first, first) for first in (0.8, 0.8 * 0.6065307, 0.8 * 0.3678794)]
    assert seen == [pytest.approx(pair) for pair in expected]


@pytest.mark.parametrize(
    "starts, asked",
    [(0, [True] * 4), (0.5, [False, False, True, True]), (0.6, [False] * 2 + [True] * 2), (1, [False] * 4)],
)
def test_a_network_is_asked_from_a_share_of_the_epochs_on(starts, asked):
    network, seen = SimpleNamespace(asking=None), []
    engine = Engine(lambda engine, batch: seen.append(network.asking))
    AskingPhase(network, epochs=4, starts=starts).attach(engine)
    engine.run([0], max_epochs=4)
    assert seen == asked


@pytest.mark.parametrize("starts", [-0.1, 1.5])
def test_a_start_outside_the_training_is_refused(starts):
    with pytest.raises(ValueError, match="asking_starts must be a share of the epochs"):
        AskingPhase(SimpleNamespace(), epochs=4, starts=starts)
