"""Learning-rate schedules."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_poly(
    optimizer: Optimizer, *, warmup_iterations: int, total_iterations: int, power: float = 0.9
) -> LambdaLR:
    """Linear warm-up from 1/warmup of the base rate, then polynomial decay to zero (SAMed, H-SAM, PG-SAM).

    Args:
        optimizer: its groups' learning rates are the base rates.
        warmup_iterations: iterations until the base rate is reached; 0 starts at it.
        total_iterations: iteration at which the rate is zero, warm-up included.
        power: of the polynomial, 0.9 in the papers.

    Raises:
        ValueError: the warm-up is not shorter than the training.
    """
    if not 0 <= warmup_iterations < total_iterations:
        raise ValueError(
            f"warmup_poly: warm-up must be shorter than training, got warmup_iterations={warmup_iterations} and "
            f"total_iterations={total_iterations}; lower 'warmup_iterations' or train longer."
        )

    def factor(iteration: int) -> float:
        if iteration < warmup_iterations:
            return (iteration + 1) / warmup_iterations
        done = (iteration - warmup_iterations) / (total_iterations - warmup_iterations)
        return max(0.0, 1.0 - done) ** power

    return LambdaLR(optimizer, factor)
