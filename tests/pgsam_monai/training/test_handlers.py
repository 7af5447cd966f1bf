"""Seeds by epoch, clipped gradients, stage weights."""

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine

from pgsam_monai.training.handlers import EpochSeed, GradientClip, StageWeights


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


def test_stage_weights_lay_the_published_epochs_out_over_this_training():
    loss, seen = SimpleNamespace(weights=None), []
    trainer = Engine(lambda engine, batch: seen.append(loss.weights))
    StageWeights(loss, "paper", epochs=3).attach(trainer)
    trainer.run([0], max_epochs=3)
    expected = [(1 - first, first) for first in (0.8, 0.8 * 0.6065307, 0.8 * 0.3678794)]
    assert seen == [pytest.approx(pair) for pair in expected]
