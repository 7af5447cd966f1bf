"""Windows of tokens, shifted by half a window and back, and who may see whom in them (Section 3.2.3; Swin)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from monai.networks.nets.swin_unetr import get_window_size, window_partition, window_reverse
from torch import Tensor
from torch.nn import functional as F

BLOCKED = -1e4
"""What is added to the score of a key that must not be seen: finite, within float16, and 0 after the softmax."""

REAL, WRAPPED, PADDING = 0.0, 1.0, 2.0
"""What a token is along one axis: in its place, carried round by the shift, or none at all."""

KINDS = 3**3
"""of all three axes"""


class WindowLayout(NamedTuple):
    """How a grid of tokens is cut into windows; all in tokens along rows, columns, slices."""

    grid: tuple[int, int, int]
    window: tuple[int, int, int]
    """never larger than the grid"""
    shift: tuple[int, int, int]
    """how far the grid is rolled towards its start; 0 along an axis that one window covers"""
    padded: tuple[int, int, int]
    """the grid's sides rounded up to whole windows"""


def choose_window(grid: Sequence[int], largest: int) -> tuple[int, int, int]:
    """The window of a network whose patches have `grid` tokens: per axis at most `largest`.

    A side that divides the grid is taken if it has at least half of `largest`: padding costs as much as real tokens,
    a grid of 12 in windows of 8 as much as one of 16. Along a shorter axis one window covers all.
    """
    return tuple(
        next(
            (side for side in range(min(largest, tokens), (largest - 1) // 2, -1) if tokens % side == 0),
            min(largest, tokens),
        )
        for tokens in grid
    )


def lay_out(grid: Sequence[int], window: Sequence[int], *, shifted: bool) -> WindowLayout:
    """Windows of at most `window` tokens on `grid`, moved by half a window if `shifted`."""
    wanted = [side // 2 if shifted else 0 for side in window]
    window, shift = get_window_size(grid, window, wanted)
    padded = (-(-side // unit) * unit for side, unit in zip(grid, window, strict=True))
    return WindowLayout(tuple(grid), window, shift, tuple(padded))


def partition(tokens: Tensor, layout: WindowLayout) -> Tensor:
    """Tokens (B, h, w, d, C) → windows (B * windows, wh, ww, wd, C), zeros where the grid ends."""
    missing = [padded - side for padded, side in zip(layout.padded, layout.grid, strict=True)]
    if any(missing):
        tokens = F.pad(tokens, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
    if any(layout.shift):
        tokens = tokens.roll([-side for side in layout.shift], dims=(1, 2, 3))
    return window_partition(tokens, layout.window).unflatten(1, layout.window)


def merge(windows: Tensor, layout: WindowLayout) -> Tensor:
    """The inverse of `partition`: windows (B * windows, wh, ww, wd, C) → tokens (B, h, w, d, C)."""
    per_volume = math.prod(layout.padded) // math.prod(layout.window)
    tokens = window_reverse(windows, layout.window, (windows.shape[0] // per_volume, *layout.padded))
    if any(layout.shift):
        tokens = tokens.roll(layout.shift, dims=(1, 2, 3))
    height, width, depth = layout.grid
    return tokens[:, :height, :width, :depth]


def regions(tokens: Tensor, layout: WindowLayout) -> Tensor | None:
    """What tells apart, within each window, tokens that are no neighbours in the volume, and padding.

    Args:
        tokens: (B, h, w, d, C) on the layout's grid; data type and device of the result, in exported networks too.
        layout: how they are cut into windows.

    Returns:
        (B * windows, N) with N = wh * ww * wd: a number from 0 to `KINDS` - 1. None where nothing is shifted or padded.
    """
    if layout.padded == layout.grid and not any(layout.shift):
        return None
    lines = tokens[:, :, 0, 0, 0], tokens[:, 0, :, 0, 0], tokens[:, 0, 0, :, 0]
    rows, columns, slices = (
        _axis_labels(line, shift, padded - side)
        for line, shift, padded, side in zip(lines, layout.shift, layout.padded, layout.grid, strict=True)
    )
    labels = 9 * rows[:, :, None, None] + 3 * columns[:, None, :, None] + slices[:, None, None]
    return window_partition(labels.unsqueeze(-1), layout.window).squeeze(-1)


def region_mask(labels: Tensor) -> Tensor:
    """What keeps `regions` (n, N) apart: (n, N, N), [window, query, key], 0, or `BLOCKED` between two of them."""
    return BLOCKED * (labels.unsqueeze(2) != labels.unsqueeze(1)).to(labels.dtype)


def region_channels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same as channels (n, N, KINDS) of query and of key, whose product it is."""
    own = (labels.unsqueeze(-1) == torch.arange(KINDS, device=labels.device)).to(labels.dtype)
    return BLOCKED * (1 - own), own


def _axis_labels(line: Tensor, shift: int, missing: int) -> Tensor:
    """What each token along one axis is after padding and rolling; made of `line` (B, side) to be on its device."""
    labels = F.pad(torch.full_like(line[:, shift:], REAL), (shift, 0), value=WRAPPED)
    return F.pad(labels, (0, missing), value=PADDING).roll(-shift, dims=1)
