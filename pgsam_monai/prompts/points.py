"""Prompts of a batch as tensors: clicks, boxes and masks, per image and class, in the network's square frame.

Points are (x, y) pixels, x along columns and y along rows, pixel centres at integers. A box is two points,
its upper left and its lower right corner, as SAM's exported models take it. Axis K holds the foreground
classes 1..K at index k - 1; nothing is ever shared between two images or two classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.prompts.boxes import Box

ABSENT, PADDING, NEGATIVE, POSITIVE, BOX_FIRST, BOX_LAST = -2, -1, 0, 1, 2, 3


class Prompts(NamedTuple):
    """What was asked about B images and K classes. A volume's slices are folded into B, depth fastest."""

    points: Tensor
    """(B, K, N, 2) float32, (x, y) pixels of the square frame; 0 where absent"""
    labels: Tensor
    """(B, K, N) int64: 1 positive click, 0 negative click, 2 and 3 a box's upper left and lower right corner,
    -2 no point (fills up ragged lists). SAM's own token "not a point", -1, is added by the prompt encoder."""
    masks: Tensor | None = None
    """(B, K, h, w) float32 mask logits at 4 x the embedding's side"""
    has_mask: Tensor | None = None
    """(B, K) bool, which of the masks count"""


class PointList(NamedTuple):
    """The points of one image and one class, before they are joined to a batch."""

    points: np.ndarray
    """(n, 2) float32, (x, y) pixels"""
    labels: np.ndarray
    """(n,) int64, POSITIVE, NEGATIVE, BOX_FIRST or BOX_LAST"""


def point_list(points: Sequence[Sequence[float]] = (), labels: Sequence[int] = ()) -> PointList:
    """n points (x, y) and their n labels as arrays; without arguments the empty list.

    Raises ValueError for different lengths, and for labels that callers don't set.
    """
    places = np.asarray(points, dtype=np.float32).reshape(-1, 2)
    kinds = np.asarray(labels, dtype=np.int64).reshape(-1)
    if len(places) != len(kinds):
        raise UserFault(f"point_list: {len(places)} points need as many labels, got {len(kinds)}.")
    if not set(kinds.tolist()) <= {NEGATIVE, POSITIVE, BOX_FIRST, BOX_LAST}:
        raise UserFault(
            "point_list: labels must be 1 (positive), 0 (negative), 2 and 3 (a box's corners), got"
            f" {kinds.tolist()}."
        )
    return PointList(places, kinds)


def box_points(box: Box) -> PointList:
    """A box's two corners."""
    return point_list([(box.x0, box.y0), (box.x1, box.y1)], [BOX_FIRST, BOX_LAST])


def empty_prompts(batch: int, classes: int, device: torch.device | str | None = None) -> Prompts:
    """Nothing asked of any of `batch` images and `classes` foreground classes: N is 0."""
    return Prompts(
        torch.zeros(batch, classes, 0, 2, device=device),
        torch.zeros(batch, classes, 0, dtype=torch.int64, device=device),
    )


def stack_points(lists: Sequence[Sequence[PointList]], device: torch.device | str | None = None) -> Prompts:
    """lists[b][k - 1], each of its own length -> Prompts (B, K, longest), shorter ones filled up with ABSENT.

    Raises ValueError when images have different numbers of classes.
    """
    B, K = len(lists), len(lists[0]) if lists else 0
    if any(len(row) != K for row in lists):
        raise UserFault(
            f"stack_points: every image needs one list per class, got {[len(row) for row in lists]} lists."
        )
    N = max((len(each.labels) for row in lists for each in row), default=0)
    points = np.zeros((B, K, N, 2), dtype=np.float32)
    labels = np.full((B, K, N), ABSENT, dtype=np.int64)
    for b, row in enumerate(lists):
        for k, each in enumerate(row):
            points[b, k, : len(each.labels)] = each.points
            labels[b, k, : len(each.labels)] = each.labels
    return Prompts(torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device))


def join_points(prompts: Prompts, more: Prompts) -> Prompts:
    """The points of both, `more` last; masks are those of `prompts`. Both have the same B and K."""
    device = prompts.points.device
    return prompts._replace(
        points=torch.cat([prompts.points, more.points.to(device)], dim=2),
        labels=torch.cat([prompts.labels, more.labels.to(device)], dim=2),
    )


def asked(prompts: Prompts) -> Tensor:
    """(B, K) bool: which classes of which images have any point or mask."""
    answer = (prompts.labels != ABSENT).any(dim=2)
    return answer if prompts.has_mask is None else answer | prompts.has_mask
