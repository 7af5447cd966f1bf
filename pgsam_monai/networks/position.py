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
    batch, heads, tokens, _ = query.shape
    bias_h, bias_w = _offset_products(query, table_h, table_w, grid)
    bias = bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)  # (B, heads, H, W, H, W)
    return bias.reshape(batch, heads, tokens, tokens)


def fold_positions(
    query: Tensor, key: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Query and key whose plain product is query · keyᵀ / √C + `decomposed_bias`, which is never made.

    A query gets its products with all row and column offsets as further channels, a key a 1 where its own row and
    column are. Memory grows with N · (H + W) instead of N², attention's kernels need no mask, and for half-precise
    numbers the sum is taken in float32, which halves the error.

    Args:
        query, key: (B, heads, N = H * W, C), not scaled; tables and grid as in `decomposed_bias`.

    Returns:
        both (B, heads, N, C + H + W, rounded up to a multiple of 8, which kernels for half-precise numbers ask for).
    """
    channels, (height, width) = query.shape[-1], grid
    products = torch.cat(_offset_products(query, table_h, table_w, grid), dim=-1).flatten(2, 3)
    row, column = (torch.eye(side, dtype=key.dtype, device=key.device) for side in grid)
    own = torch.cat([row.repeat_interleave(width, 0), column.repeat(height, 1)], dim=1)  # (N, H + W)
    filled = (0, -(channels + height + width) % 8)
    folded_query = torch.cat([query * channels**-0.5, products], dim=-1)
    folded_key = torch.cat([key, own.expand(*key.shape[:2], -1, -1)], dim=-1)
    return F.pad(folded_query, filled), F.pad(folded_key, filled)


def _offset_products(
    query: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Arguments as in `decomposed_bias` → query · row offset embedding (B, heads, H, W, H), and of columns (…, W)."""
    query = query.unflatten(2, grid)
    rows_h = relative_rows(table_h, grid[0]).to(query.dtype)  # (H, C, H)
    rows_w = relative_rows(table_w, grid[1]).to(query.dtype)  # (W, C, W)
    return query @ rows_h, (query.transpose(2, 3) @ rows_w).transpose(2, 3)


def grid_coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel-centre coordinates in 0..1 of a feature map's grid: x and y, each (H, W) float32.

    `like` (B, C, H, W) gives size and device; the result follows it wherever a traced network is moved.
    """
    ones = torch.ones_like(like[0, 0], dtype=torch.float32)
    y = (ones.cumsum(0) - 0.5) / like.shape[2]
    x = (ones.cumsum(1) - 0.5) / like.shape[3]
    return x, y
