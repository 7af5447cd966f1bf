"""Position tables of a ViT and how they are carried to another grid of tokens."""

from __future__ import annotations

from collections.abc import Sequence

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


def decomposed_bias(
    query: Tensor, tables: Sequence[Tensor], grid: Sequence[int], mask: Tensor | None = None
) -> Tensor:
    """SAM's attention bias: the sum over the grid's axes of query · (embedding of the offset along that axis).

    Args:
        query: (B, heads, N, C) with N tokens of the grid, not scaled.
        tables: (2 * side - 1, C) for each axis.
        grid: sides in tokens: (H, W), or (H, W, D).
        mask: (B or 1, 1, N, N) in the query's data type, added as well.

    Returns:
        (B, heads, N, N) in the query's data type: [..., query token, key token].
    """
    axes = len(grid)
    products = _offset_products(query, tables, grid)
    bias = sum(
        product.unflatten(-1, [side if other == axis else 1 for other in range(axes)])
        for axis, (product, side) in enumerate(zip(products, grid, strict=True))
    )
    bias = bias.flatten(2 + axes).flatten(2, 1 + axes)
    return bias if mask is None else bias.add_(mask)  # in place: the bias is the largest tensor there is


def fold_positions(
    query: Tensor,
    key: Tensor,
    tables: Sequence[Tensor],
    grid: Sequence[int],
    further: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Query and key whose plain product is query · keyᵀ / √C + `decomposed_bias`, which is never made.

    A query gets its products with all offsets of every axis as further channels, a key a 1 where its own row, column
    and slice are. Memory grows with N times the sides' sum instead of N², attention's kernels need no mask, and for
    half-precise numbers the sum is taken in float32, which halves the error.

    Args:
        query, key: (B, heads, N, C), not scaled; tables and grid as in `decomposed_bias`.
        further: channels (B, N, c) of query and of key whose product is added as well, for all heads alike.

    Returns:
        both (B, heads, N, C + sides + c, rounded up to a multiple of 8, which kernels for half-precise numbers ask
        for).
    """
    products = [product.flatten(2, 1 + len(grid)) for product in _offset_products(query, tables, grid)]
    heads = (*query.shape[:2], -1, -1)
    query_parts = [query * query.shape[-1] ** -0.5, *products]
    key_parts = [key, *(own.expand(heads) for own in _own_places(grid, key))]
    if further is not None:
        query_parts, key_parts = (
            [*parts, channels.to(key).unsqueeze(1).expand(heads)]
            for parts, channels in zip((query_parts, key_parts), further, strict=True)
        )
    folded_query, folded_key = torch.cat(query_parts, dim=-1), torch.cat(key_parts, dim=-1)
    filled = (0, -folded_key.shape[-1] % 8)
    return F.pad(folded_query, filled), F.pad(folded_key, filled)


def _own_places(grid: Sequence[int], like: Tensor) -> list[Tensor]:
    """For each axis (N, side): of every token of the grid a 1 at its own place along the axis."""
    places = []
    for axis, side in enumerate(grid):
        along = [side if other == axis else 1 for other in range(len(grid))]
        own = torch.eye(side, dtype=like.dtype, device=like.device).unflatten(0, along)
        places.append(own.expand(*grid, side).flatten(0, -2))
    return places


def _offset_products(query: Tensor, tables: Sequence[Tensor], grid: Sequence[int]) -> list[Tensor]:
    """Arguments as in `decomposed_bias` → for each axis query · offset embedding (B, heads, *grid, side)."""
    cells = query.unflatten(2, tuple(grid))
    products = []
    for axis, (table, side) in enumerate(zip(tables, grid, strict=True)):
        rows = relative_rows(table, side).to(query.dtype)  # (side, C, side)
        lines = cells.movedim(2 + axis, 2)
        rest = [other for place, other in enumerate(grid) if place != axis]
        product = lines.flatten(3, -2) @ rows  # (B, heads, side, tokens of the other axes, side)
        products.append(product.unflatten(3, rest).movedim(2, 2 + axis))
    return products


def grid_coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel-centre coordinates in 0..1 of a feature map's grid: x and y, each (H, W) float32.

    `like` (B, C, H, W) gives size and device; the result follows it wherever a traced network is moved.
    """
    ones = torch.ones_like(like[0, 0], dtype=torch.float32)
    y = (ones.cumsum(0) - 0.5) / like.shape[2]
    x = (ones.cumsum(1) - 0.5) / like.shape[3]
    return x, y
