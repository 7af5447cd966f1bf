"""The simulated user's next click, for a whole batch at once and on its device: a search region by region, as
`prompts.clicks` makes it for a tester, would take longer than the network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pgsam_monai.prompts.points import ABSENT, NEGATIVE, POSITIVE

COARSE = 4
"""Errors are weighed on a grid this many times as coarse."""
WINDOWS = (3, 7, 13)
"""Sides of the windows on it in which errors are counted: a click goes where there are many, near and far."""


def next_clicks(logits: Tensor, targets: Tensor, *, chance: float = 0.1) -> tuple[Tensor, Tensor]:
    """Where each of P answers is most wrong.

    Args:
        logits: (P, S, S), above 0 inside.
        targets: (P, S, S) bool.
        chance: standard deviation of what is added to each pixel's weight, of 1 in the middle of a large error, from
            torch's generator; 0 for a tester who clicks alike each time.

    Returns:
        points (P, 1, 2), (x, y) pixels, and labels (P, 1): positive where the target was missed, negative where it
        wasn't there, absent where the answer is right everywhere.
    """
    found = logits > 0
    missed, extra = targets & ~found, found & ~targets
    weight = torch.maximum(_weigh(missed), _weigh(extra))
    if chance:
        weight = weight + chance * torch.randn(weight.shape, device=weight.device)
    wrong = missed | extra
    best = weight.masked_fill(~wrong, -torch.inf).flatten(1).argmax(dim=1)
    row, column = best // logits.shape[2], best % logits.shape[2]
    points = torch.stack([column, row], dim=1).unsqueeze(1).float()
    which = torch.arange(len(best), device=best.device)
    kind = torch.where(missed[which, row, column], POSITIVE, NEGATIVE)
    kind = torch.where(wrong.flatten(1).any(dim=1), kind, ABSENT)
    return points, kind.unsqueeze(1)


def at_points(values: Tensor, points: Tensor) -> Tensor:
    """What maps (P, S, S) have at points (P, N, 2), (x, y) pixels, rounded and at most at the rim: (P, N)."""
    size = values.shape[-1]
    columns, rows = points.round().long().clamp(0, size - 1).unbind(dim=-1)
    return values.flatten(1).gather(1, rows * size + columns)


def _weigh(errors: Tensor) -> Tensor:
    """(P, S, S) bool → float32: about how large and how thick the error is round each of its pixels, 0 to 1."""
    coarse = F.avg_pool2d(errors.unsqueeze(1).float(), COARSE)
    counted = [F.avg_pool2d(coarse, side, stride=1, padding=side // 2) for side in WINDOWS]
    weight = torch.stack(counted).mean(dim=0)
    fine = F.interpolate(weight, size=errors.shape[1:], mode="bilinear", align_corners=False)
    return fine[:, 0] * errors
