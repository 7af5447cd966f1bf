"""Attention within 3-D windows, with SAM's relative positions and their like along depth (Section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgsam_monai.networks.position import crop_relative, relative_rows
from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads
from pgsam_monai.transforms.fit import sides


class WindowAttention(nn.Module):
    """Multi-head self-attention among the tokens of each window; SAM's layers and tables, one table more."""

    def __init__(self, dim: int, *, heads: int, window: Sequence[int], relative_positions: bool) -> None:
        """
        Args:
            dim: channels C.
            heads: attention heads; must divide `dim`.
            window: tokens of the largest window (wh, ww, wd): rows, columns, slices.
            relative_positions: whether there are tables of relative positions.
        """
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.has_tables = relative_positions
        if relative_positions:
            self.rel_pos_h, self.rel_pos_w, self.rel_pos_d = (
                nn.Parameter(torch.zeros(2 * side - 1, dim // heads)) for side in window
            )

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend among the tokens of each window.

        Args:
            windows: (n, wh, ww, wd, C), no side larger than the tables'; smaller ones take the tables' middle.
            mask: (n, N, N) to be added to the scores, see `windows.region_mask`.

        Returns:
            as `windows`.
        """
        grid = sides(windows, 1, 2, 3)
        flat = windows.flatten(1, 3)  # (n, N, C)
        query, key, value = (split_heads(layer(flat), self.heads) for layer in (self.q, self.k, self.v))
        out = attend(query, key, value, self._bias(query, grid, mask))
        return self.proj(join_heads(out)).unflatten(1, grid)

    def _bias(self, query: Tensor, grid: tuple[int, ...], mask: Tensor | None) -> Tensor | None:
        mask = None if mask is None else mask.to(query.dtype).unsqueeze(1)  # (n, 1, N, N)
        if not self.has_tables:
            return mask
        tables = (self.rel_pos_h, self.rel_pos_w, self.rel_pos_d)
        cropped = [crop_relative(table, 2 * side - 1) for table, side in zip(tables, grid, strict=True)]
        return decomposed_bias_3d(query, cropped, grid, mask)


def decomposed_bias_3d(
    query: Tensor, tables: Sequence[Tensor], grid: tuple[int, ...], mask: Tensor | None = None
) -> Tensor:
    """Attention bias: query · (row offset embedding) + query · (column offset's) + query · (slice offset's).

    Args:
        query: (n, heads, N, C) with N = h * w * d, not scaled.
        tables: (2h - 1, C), (2w - 1, C), (2d - 1, C).
        grid: (h, w, d).
        mask: (n, 1, N, N) in the query's data type, added as well.

    Returns:
        (n, heads, N, N) in the query's data type: [..., query token, key token].
    """
    cells = query.unflatten(2, grid)  # (n, heads, h, w, d, C)
    rows, columns, slices = (
        torch.einsum(f"nahwdc,{axis}ck->nahwdk", cells, relative_rows(table, side).to(query.dtype))
        for axis, table, side in zip("hwd", tables, grid, strict=True)
    )
    bias = rows[..., :, None, None] + columns[..., None, :, None] + slices[..., None, None, :]
    if mask is not None:
        bias += mask.unflatten(3, grid).unflatten(
            2, grid
        )  # in place: the bias is the largest tensor there is
    return bias.flatten(5).flatten(2, 4)
