"""Position tables of a ViT and how they are carried to another grid of tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pgsam_monai.transforms.fit import sides


def grid_of(tokens: Tensor) -> tuple[int, int]:
    """Rows and columns of tokens (B, H, W, C)."""
    return sides(tokens, 1, 2)


def resize_absolute(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bilinear resize of an absolute position table (1, rows, columns, C) to `grid` = (rows, columns)."""
    if grid_of(table) == grid:
        return table
    channels_first = table.permute(0, 3, 1, 2)  # (1, C, rows, columns)
    resized = F.interpolate(channels_first, size=grid, mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def resize_relative(table: Tensor, rows: int) -> Tensor:
    """Linear resize of a relative position table (2n - 1, C) along its first axis to `rows` = 2m - 1."""
    if sides(table, 0) == (rows,):
        return table
    resized = F.interpolate(table.t().unsqueeze(0), size=rows, mode="linear", align_corners=False)
    return resized.squeeze(0).t()


def fit_table(key: str, value: Tensor, own: Tensor | None) -> Tensor:
    """A position table of the name `key`, resized to the shape of the network's `own`; anything else as it is."""
    if own is None or own.shape == value.shape or own.ndim != value.ndim or own.shape[-1] != value.shape[-1]:
        return value
    if key.endswith("pos_embed"):
        return resize_absolute(value.float(), tuple(own.shape[1:3]))
    if key.endswith((".rel_pos_h", ".rel_pos_w")):
        return resize_relative(value.float(), own.shape[0])
    return value


def crop_relative(table: Tensor, rows: int) -> Tensor:
    """The middle `rows` rows of a relative position table, where every offset keeps its meaning."""
    start = (sides(table, 0)[0] - rows) // 2
    return table[start : start + rows]


def relative_rows(table: Tensor, size: int) -> Tensor:
    """Spread a relative position table (2 * size - 1, C) to (size, C, size): [query, :, key].

    Entry [i, :, j] is the table's row for the offset i - j. It is made of views of the table, so that
    an exported network holds no index constants bound to one device.
    """
    return table.unfold(0, size, 1).flip(-1)


def decomposed_bias(query: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]) -> Tensor:
    """SAM's attention bias: query · (row offset embedding) + query · (column offset embedding).

    Args:
        query: (B, heads, H * W, C), not scaled.
        table_h: (2H - 1, C).
        table_w: (2W - 1, C).
        grid: (H, W).

    Returns:
        (B, heads, H * W, H * W) in the query's data type: [..., query token, key token].
    """
    height, width = grid
    batch, heads, tokens, channels = query.shape
    query = query.reshape(batch, heads, height, width, channels)
    rows_h = relative_rows(table_h, height).to(query.dtype)  # (H, C, H)
    rows_w = relative_rows(table_w, width).to(query.dtype)  # (W, C, W)
    bias_h = query @ rows_h  # (B, heads, H, W, H)
    bias_w = (query.transpose(2, 3) @ rows_w).transpose(2, 3)  # (B, heads, H, W, W)
    bias = bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)  # (B, heads, H, W, H, W)
    return bias.reshape(batch, heads, tokens, tokens)


def grid_coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel-centre coordinates in 0..1 of a feature map's grid: x and y, each (H, W) float32.

    `like` (B, C, H, W) gives size and device; the result follows it wherever a traced network is moved.
    """
    ones = torch.ones_like(like[0, 0], dtype=torch.float32)
    y = (ones.cumsum(0) - 0.5) / like.shape[2]
    x = (ones.cumsum(1) - 0.5) / like.shape[3]
    return x, y
