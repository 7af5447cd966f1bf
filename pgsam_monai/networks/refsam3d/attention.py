"""Attention within 3-D windows, with SAM's relative positions and their like along depth (Section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgsam_monai.networks.position import crop_relative, decomposed_bias, fold_positions
from pgsam_monai.networks.refsam3d.windows import region_channels, region_mask
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

    def forward(self, windows: Tensor, labels: Tensor | None = None) -> Tensor:
        """Attend among the tokens of each window.

        Args:
            windows: (n, wh, ww, wd, C), no side larger than the tables'; smaller ones take the tables' middle.
            labels: (n, N), see `windows.regions`: only tokens of equal ones see each other. None: all do.

        Returns:
            as `windows`.
        """
        grid = sides(windows, 1, 2, 3)
        flat = windows.flatten(1, 3)  # (n, N, C)
        query, key, value = (split_heads(layer(flat), self.heads) for layer in (self.q, self.k, self.v))
        tables = self._tables(grid) if self.has_tables else None
        if tables is not None and folds(query):
            apart = None if labels is None else region_channels(labels)
            out = attend(*fold_positions(query, key, tables, grid, apart), value, scale=1.0)
        else:
            out = attend(query, key, value, _bias(query, tables, grid, labels))
        return self.proj(join_heads(out)).unflatten(1, grid)

    def _tables(self, grid: tuple[int, ...]) -> list[Tensor]:
        """Of offsets along rows (2h - 1, C), columns and slices of a grid (h, w, d)."""
        tables = (self.rel_pos_h, self.rel_pos_w, self.rel_pos_d)
        return [crop_relative(table, 2 * side - 1) for table, side in zip(tables, grid, strict=True)]


def folds(query: Tensor) -> bool:
    """Whether attention of queries (n, heads, N, C) takes positions and regions folded into query and key.

    A GPU is then spared the bias of all pairs, a CPU a fifth of the time of a training step; in inference it is a few
    percent slower there (docs/results.md). Exports keep the bias.
    """
    return (query.is_cuda or torch.is_grad_enabled()) and not torch.jit.is_tracing()


def _bias(
    query: Tensor, tables: Sequence[Tensor] | None, grid: tuple[int, ...], labels: Tensor | None
) -> Tensor | None:
    """What is added to the scores of queries (n, heads, N, C): (n, heads or 1, N, N), or None for nothing."""
    mask = None if labels is None else region_mask(labels.to(query.dtype)).unsqueeze(1)
    return mask if tables is None else decomposed_bias(query, tables, grid, mask)
