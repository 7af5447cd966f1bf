"""Clicks that correct an answer: they move it near them, and nowhere else.

Asking the network anew with every further click is SAM's way, and needs a network that has learnt to obey clicks. With
few training steps it hasn't (docs/results.md): further clicks lowered Dice. Moving the logits has no such condition,
obeys every click, and uses what the network knows: where it was unsure, more follows a click than where it was sure.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgsam_monai.prompts.points import POSITIVE, PointList
from pgsam_monai.voxels.frame import SliceFrame

MARGIN = 1.0
"""Logit that a clicked pixel gets, or minus that."""
REACH = 0.25
"""Standard deviation of what a click moves, as a share of the radius of a disc as large as the structure."""
LEAST_REACH = 2.0
"""of that, at least: pixels of the slice"""


def pull(logits: Tensor, clicks: PointList, frame: SliceFrame) -> Tensor:
    """Logits (S, S) on the square, moved by each click in turn that they don't obey yet.

    A Gaussian around the click is added, so high that the clicked pixel gets `MARGIN` on the click's side.

    Args:
        logits: positive inside.
        clicks: (x, y) pixels of the square, positive or negative; outside the square they do nothing.
        frame: how the slice lies in the square.
    """
    moved = logits.clone()
    size = moved.shape[0]
    rows, columns = (torch.arange(size, device=moved.device) for _ in range(2))
    scale = frame.fitted_width / frame.width
    for (x, y), kind in zip(clicks.points.tolist(), clicks.labels.tolist(), strict=True):
        row, column = round(y), round(x)
        if not (0 <= row < size and 0 <= column < size):
            continue
        side = 1.0 if kind == POSITIVE else -1.0
        here = float(moved[row, column])
        if side * here >= MARGIN:
            continue
        radius = (torch.count_nonzero(moved > 0).item() / torch.pi) ** 0.5
        reach = max(LEAST_REACH * scale, REACH * radius)
        distance = (rows[:, None] - y) ** 2 + (columns - x) ** 2
        moved += (side * MARGIN - here) * torch.exp(-distance / (2 * reach**2))
    return moved
