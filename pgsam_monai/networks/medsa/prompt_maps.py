"""Clicks and boxes drawn into SAM's mask prompt.

SAM tells the decoder where a click lies by a token alone, whose place the decoder has to learn to read; it takes many
more steps than a small network gets. Drawn on the mask that goes in, as in RITM (Sofiiuk et al. 2022), a click is where
it is from the first step on, and the answer before it is already corrected there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pgsam_monai.prompts.points import BOX_FIRST, BOX_LAST, NEGATIVE, POSITIVE

CLICK_LOGIT = 10.0
"""At a click, for or against; also the most that an earlier answer goes in with."""
CLICK_RADIUS = 1.0
"""Standard deviation of a click's spot, pixels of the mask prompt (4 of the image)."""
OUTSIDE_LOGIT = -4.0
"""Outside a box, while there is no answer yet."""
MARGIN = 0.5
"""Logit that an answer has at a click, about at least, for or against."""
PASSES = 3
"""A spot reaches four fifths of its height between the pixels of an answer, and spots overlap; then it is there."""


def draw_prompts(
    points: Tensor,
    labels: Tensor,
    *,
    stride: float,
    size: tuple[int, int],
    masks: Tensor | None = None,
    has_mask: Tensor | None = None,
) -> Tensor:
    """The mask prompt of P questions, with their clicks and boxes in it.

    Args:
        points: (P, N, 2), (x, y) pixels of the image's square.
        labels: (P, N), see `Prompts`; what is neither click nor corner isn't drawn.
        stride: pixels of the square per pixel of the mask prompt.
        size: its height and width.
        masks: (P, *size) logits of a mask that is given, or None.
        has_mask: (P,) bool, which of them count.

    Returns:
        (P, *size) float32 logits.
    """
    rows, columns = _centres(size, stride, points.device)
    base = _outside_boxes(points, labels, rows, columns)
    if masks is not None:
        given = masks.float().clamp(-CLICK_LOGIT, CLICK_LOGIT)
        base = torch.where(has_mask[:, None, None], given, base)
    down, across = _falls(points, rows, columns, stride)
    signs = _signs(labels)
    spots = torch.einsum("pn,pnh,pnw->phw", 2 * CLICK_LOGIT * signs, down, across)
    return (base + spots).clamp(-CLICK_LOGIT, CLICK_LOGIT)


def obey(logits: Tensor, points: Tensor, labels: Tensor, *, stride: float) -> Tensor:
    """Answers (P, h, w) that say of each clicked pixel what the click said.

    An answer that does so by `MARGIN` stays as it is; another one gets a click's spot, about as high as it takes. Of
    two contrary clicks on one place the later one counts. Sizes may be traced.

    Args:
        logits: positive inside.
        points: (P, N, 2), (x, y) pixels of the image's square.
        labels: (P, N), see `Prompts`.
        stride: pixels of the square per pixel of the answer.
    """
    down, across = _falls(
        points, *_centres((logits.shape[1], logits.shape[2]), stride, points.device), stride
    )
    signs = _signs(labels)
    heard = 1 - _overruled(points, signs, stride)
    sides = [side * stride for side in (logits.shape[2], logits.shape[1])]
    scale = torch.stack([torch.as_tensor(side, dtype=points.dtype, device=points.device) for side in sides])
    places = (2 * (points + 0.5) / scale - 1)[:, :, None]  # (P, N, 1, 2), as grid_sample wants them
    for _ in range(PASSES):
        here = functional.grid_sample(
            logits.unsqueeze(1), places, padding_mode="border", align_corners=False
        )[:, 0, :, 0]  # (P, N)
        lack = (MARGIN - signs * here).clamp(min=0) * signs * heard
        logits = logits + torch.einsum("pn,pnh,pnw->phw", lack, down, across)
    return logits


def _overruled(points: Tensor, signs: Tensor, stride: float) -> Tensor:
    """How near a later click, which says the contrary, lies to each: (P, N), 1 on the same place, 0 far away."""
    distance = (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(dim=-1)  # (P, N, N)
    contrary = signs.unsqueeze(2) * signs.unsqueeze(1) < 0
    near = torch.exp(-distance / (CLICK_RADIUS * stride) ** 2) * contrary
    return torch.triu(near, diagonal=1).amax(dim=2)


def _signs(labels: Tensor) -> Tensor:
    """1 for a positive click, -1 for a negative one, 0 for anything else; float32."""
    return (labels == POSITIVE).float() - (labels == NEGATIVE).float()


def _centres(size: tuple[int, int], stride: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the rows and columns of a map lie in the square, pixels."""
    rows, columns = (torch.arange(side, device=device, dtype=torch.float32) for side in size)
    return (rows + 0.5) * stride - 0.5, (columns + 0.5) * stride - 0.5


def _falls(points: Tensor, rows: Tensor, columns: Tensor, stride: float) -> tuple[Tensor, Tensor]:
    """Factors (P, N, h) and (P, N, w) of a spot round each point."""
    falls = 2 * (CLICK_RADIUS * stride) ** 2
    down = torch.exp(-((points[..., 1:] - rows) ** 2) / falls)
    return down, torch.exp(-((points[..., :1] - columns) ** 2) / falls)


def _outside_boxes(points: Tensor, labels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(P, height, width): `OUTSIDE_LOGIT` outside a question's box, 0 inside and where there is none."""
    first, last = (labels == kind for kind in (BOX_FIRST, BOX_LAST))
    boxed = first.any(dim=1)
    # A question has one box at most: sums over its points pick the corner.
    low = (points * first.unsqueeze(-1)).sum(dim=1)  # (P, 2)
    high = (points * last.unsqueeze(-1)).sum(dim=1)
    within_rows = (rows >= low[:, 1:] - 0.5) & (rows <= high[:, 1:] + 0.5)  # (P, height)
    within_columns = (columns >= low[:, :1] - 0.5) & (columns <= high[:, :1] + 0.5)
    outside = ~(within_rows[:, :, None] & within_columns[:, None, :]) & boxed[:, None, None]
    return OUTSIDE_LOGIT * outside.float()
