"""A training whose loss or weights are no finite numbers any more ends, before anything of it is saved."""

from __future__ import annotations

import math
from typing import Any

import torch
from ignite.engine import Engine

from pgsam_monai.base.errors import UserFault
from pgsam_monai.training.loss_reading import tell_each_loss
from pgsam_monai.weights.checks import is_finite, tensors_of

SKIPPED = 10
"""steps in a row that a loss scaler may skip, until it has found its scale"""


class Diverged(UserFault):
    """A loss or a weight is no finite number; the message names where and the remedy."""


class FiniteLoss:
    """Raises Diverged after a step whose loss is no finite number.

    With a loss scaler, which leaves out such steps and lowers its scale, after `SKIPPED` of them in a row.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.skipped = 0

    def attach(self, engine: Engine) -> None:
        tell_each_loss(engine, self)

    def __call__(self, engine: Engine, iteration: int, loss: float) -> None:
        if math.isfinite(loss):
            self.skipped = 0
            return
        self.skipped += 1
        if self.skipped > (SKIPPED if getattr(engine, "scaler", None) else 0):
            rate = self.optimizer.param_groups[0]["lr"]
            raise Diverged(
                f"The training diverged: in epoch {engine.state.epoch}, iteration {iteration}, the loss "
                f"is {loss}, no finite number; train again with a learning_rate lower than {rate:.3g}. What was saved "
                "after earlier epochs is kept."
            )


def check_weights(content: Any) -> None:
    """Raise Diverged if a tensor of what is to be saved holds values that are no finite numbers."""
    wrong = next((name for name, tensor in tensors_of(content) if not is_finite(tensor)), None)
    if wrong is not None:
        raise Diverged(
            f"The training diverged: weights are no finite numbers any more (in '{wrong}'), and are not saved; train "
            "again with a lower learning_rate. What was saved after earlier epochs is kept."
        )
