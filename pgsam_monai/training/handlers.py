"""Ignite handlers that act on a training: seeding by epoch, clipped gradients, what changes from epoch to epoch."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.losses import DeepSupervisionLoss
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.training.schedules import stage_weights


class EpochSeed:
    """Seeds torch (dropout and the like) by (seed, epoch), so that a resumed run repeats an undisturbed one.

    The data need no seeding here: their sampler is told its epoch by MONAI's trainer."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        # A prime factor keeps (seed, epoch) pairs apart: seed 1 at epoch 2 is not seed 2 at epoch 1.
        torch.manual_seed(self.seed * 100_003 + engine.state.epoch)


class GradientClip:
    """Scales the gradients down to a total norm of `max_norm` before the optimiser's step.

    None neither measures nor scales them; steps with gradients that are no finite numbers are a loss scaler's to leave
    out, and `divergence`'s to end, either way.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float | None) -> None:
        self.parameters = [value for value in network.parameters() if value.requires_grad]
        self.optimizer = optimizer
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        if self.max_norm is not None:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.scaler is not None:
            engine.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)


class StageWeights:
    """Moves H-SAM's loss from its first to its second decoding stage, epoch by epoch (`schedules.stage_weights`).

    Args:
        loss: MONAI's DeepSupervisionLoss over [second stage, first stage]; its `weights` are set here.
        schedule: "paper" or "released".
        epochs: epochs of this training over which the published 300 are laid out.
    """

    published_epochs = 300

    def __init__(self, loss: DeepSupervisionLoss, schedule: str, epochs: int) -> None:
        stage_weights(schedule, 0)  # an unknown name should not wait for the data to be ready
        self.loss, self.schedule, self.epochs = loss, schedule, epochs

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        done = (engine.state.epoch - 1) * self.published_epochs / self.epochs
        first, second = stage_weights(self.schedule, done)
        self.loss.weights = [second, first]


class AskingPhase:
    """Lets RefSAM3D learn all classes first, and to be asked for one afterwards.

    Args:
        network: a `RefSAM3D`, whose `referring` says how often it is asked then.
        epochs: over which the training is laid out, as its learning rate is.
        starts: share of the epochs before it is asked at all, 0 to 1; 0 asks from the beginning.

    Raises:
        ValueError: a share outside 0 to 1.
    """

    def __init__(self, network: nn.Module, epochs: int, starts: float) -> None:
        if not 0 <= starts <= 1:
            raise UserFault(f"asking_starts must be a share of the epochs, 0 to 1, got {starts}.")
        self.network, self.epochs, self.starts = network, epochs, starts

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.network.asking = engine.state.epoch > self.starts * self.epochs
