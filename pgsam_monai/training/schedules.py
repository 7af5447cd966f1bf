"""Learning-rate schedules."""

from __future__ import annotations

import logging
import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pgsam_monai.base.errors import UserFault

logger = logging.getLogger(__name__)


def warmup_poly(
    optimizer: Optimizer, *, warmup_iterations: int, total_iterations: int, power: float = 0.9
) -> LambdaLR:
    """Linear warm-up from 1/warmup of the base rate, then polynomial decay to zero (SAMed, H-SAM, PG-SAM).

    Args:
        optimizer: its groups' learning rates are the base rates.
        warmup_iterations: iterations until the base rate is reached; 0 starts at it. One that isn't shorter than
            the training, as in a trial run of a long recipe, is cut to a tenth of it, with a warning.
        total_iterations: iteration at which the rate is zero, warm-up included.
        power: of the polynomial, 0.9 in the papers.

    Raises:
        ValueError: a negative warm-up, or no training.
    """
    if warmup_iterations < 0 or total_iterations < 1:
        raise UserFault(
            f"warmup_poly: warm-up must be at least 0 and training at least 1 iteration long, got "
            f"warmup_iterations={warmup_iterations} and total_iterations={total_iterations}."
        )
    if warmup_iterations >= total_iterations:
        cut = total_iterations // 10
        logger.warning(
            "The planned warm-up of %d iterations doesn't fit into a training of %d; it is cut to %d.",
            warmup_iterations, total_iterations, cut,
        )  # fmt: skip
        warmup_iterations = cut

    def factor(iteration: int) -> float:
        if iteration < warmup_iterations:
            return (iteration + 1) / warmup_iterations
        done = (iteration - warmup_iterations) / (total_iterations - warmup_iterations)
        return max(0.0, 1.0 - done) ** power

    return LambdaLR(optimizer, factor)


STAGE_SCHEDULES = ("paper", "released")


def stage_weights(schedule: str, epoch: float) -> tuple[float, float]:
    """H-SAM's shares of the loss of the first and of the second stage; they sum to 1.

    Args:
        schedule: "paper": the first stage's is 0.8 · exp(-0.005 · epoch); "released": the second stage's is
            0.6^(0.99^epoch), so that it starts at 0.6.
        epoch: published epochs done, of 300; fractions count.

    Raises:
        ValueError: unknown schedule.
    """
    if schedule == "paper":
        first = 0.8 * math.exp(-0.005 * epoch)
        return first, 1 - first
    if schedule == "released":
        second = 0.6 ** (0.99**epoch)
        return 1 - second, second
    raise UserFault(f"stage_schedule must be one of {', '.join(STAGE_SCHEDULES)}, got '{schedule}'.")
