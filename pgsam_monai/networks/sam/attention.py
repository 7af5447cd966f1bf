"""The image encoder's transformer block: attention in windows or over the whole grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from torch import Tensor, nn

from pgsam_monai.networks.position import (
    crop_relative,
    decomposed_bias,
    fold_positions,
    grid_of,
    resize_relative,
)
from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads

LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


FOLDED_FROM = 1024
"""Tokens (512 pixels) from which a GPU is spared the bias of all pairs: 12 heads would keep 25 MB of it per image and
global block for the backward pass, at 1024 pixels 400 MB."""


def folds(query: Tensor) -> bool:
    """Whether attention of queries (B, heads, N, C) takes its positions folded into them (`position.fold_positions`).

    CPUs, where it took twice as long (docs/gpu.md), and exports don't.
    """
    return query.is_cuda and query.shape[2] >= FOLDED_FROM and not torch.jit.is_tracing()


class Attention(nn.Module):
    """Multi-head self-attention with SAM's decomposed relative positions as bias.

    SAM's fused `qkv` layer is three layers `q`, `k`, `v` here, so that an adapter can name q and v;
    `checkpoint.split_qkv` and `checkpoint.fuse_qkv` convert the weights exactly.
    """

    def __init__(self, dim: int, *, heads: int, table_size: int | None, resize_tables: bool) -> None:
        """
        Args:
            dim: channels.
            heads: attention heads; must divide `dim`.
            table_size: side of the token grid that the relative position tables cover; None for no tables.
            resize_tables: whether another grid stretches the tables (attention over the whole grid) or
                takes their middle (attention in a window that is smaller than the table's).
        """
        super().__init__()
        self.heads = heads
        self.resize_tables = resize_tables
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.has_tables = table_size is not None
        if table_size is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * table_size - 1, dim // heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * table_size - 1, dim // heads))

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend among the tokens (B, H, W, C) of each batch entry; same shape out."""
        grid = grid_of(tokens)
        flat = tokens.flatten(1, 2)  # (B, N, C)
        query, key, value = (split_heads(layer(flat), self.heads) for layer in (self.q, self.k, self.v))
        if self.has_tables and folds(query):
            out = attend(*fold_positions(query, key, self._tables(grid), grid), value, scale=1.0)
        else:
            out = attend(query, key, value, self._bias(query, grid))
        return self.proj(join_heads(out)).unflatten(1, grid)

    def over_sequence(self, tokens: Tensor) -> Tensor:
        """The same attention among the N tokens of (B, N, C), which have no places in a grid: without its bias."""
        query, key, value = (split_heads(layer(tokens), self.heads) for layer in (self.q, self.k, self.v))
        return self.proj(join_heads(attend(query, key, value)))

    def _bias(self, query: Tensor, grid: tuple[int, int]) -> Tensor | None:
        return decomposed_bias(query, self._tables(grid), grid) if self.has_tables else None

    def _tables(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Of offsets along rows (2H - 1, C) and columns (2W - 1, C) of a grid (H, W)."""
        fit = resize_relative if self.resize_tables else crop_relative
        return fit(self.rel_pos_h, 2 * grid[0] - 1), fit(self.rel_pos_w, 2 * grid[1] - 1)


class Block(nn.Module):
    """A pre-norm transformer block, its attention in windows of `window` tokens or, with 0, global."""

    def __init__(
        self, dim: int, *, heads: int, mlp_ratio: float, window: int, grid: int, relative_positions: bool
    ) -> None:
        """`grid`: side of the token grid that the network is built for."""
        super().__init__()
        self.dim = dim
        self.heads = heads
        self.window = window
        self.norm1 = LAYER_NORM(dim)
        self.attn = Attention(
            dim,
            heads=heads,
            table_size=(window or grid) if relative_positions else None,
            resize_tables=window == 0,
        )
        self.norm2 = LAYER_NORM(dim)
        self.mlp = MLPBlock(embedding_dim=dim, mlp_dim=int(dim * mlp_ratio))

    def forward(self, tokens: Tensor, depth: int = 1) -> Tensor:
        """Tokens (B, H, W, C), any H and W; same shape out. `depth` concerns adapted blocks only."""
        tokens = self.between(tokens + self.attend_space(tokens))
        return tokens + self.mlp_after_norm(self.mlp_norm(tokens))

    def attend_space(self, tokens: Tensor) -> Tensor:
        """What attention within each image, in windows or over its whole grid, adds to tokens (B, H, W, C)."""
        tokens, grid = self.norm1(tokens), grid_of(tokens)
        if self.window == 0 or max(grid) <= self.window:
            return self.attn(tokens)
        windows, padded = window_partition(tokens, self.window)
        return window_unpartition(self.attn(windows), self.window, padded, grid)

    def attend_depth(self, tokens: Tensor, depth: int) -> Tensor:
        """What attention with the same weights adds where each position attends to itself in the other slices.

        Args:
            tokens: (B * depth, H, W, C), a volume's slices one after the other.
            depth: slices of a volume.
        """
        return across_slices(self.attn.over_sequence, self.norm1(tokens), depth)

    def between(self, tokens: Tensor) -> Tensor:
        """What other kinds of block do between attention and MLP; nothing here."""
        return tokens

    def mlp_norm(self, tokens: Tensor) -> Tensor:
        """What the MLP sees of tokens (B, H, W, C)."""
        return self.norm2(tokens)

    def mlp_after_norm(self, normed: Tensor) -> Tensor:
        """The MLP on normed tokens (B, H, W, C)."""
        return self.mlp(normed)


def across_slices(attention: Callable[[Tensor], Tensor], tokens: Tensor, depth: int) -> Tensor:
    """Attention among the `depth` tokens that lie at one position of a volume's slices.

    Args:
        attention: (sequences, depth, C) → same shape.
        tokens: (B * depth, H, W, C).
        depth: slices of a volume; consecutive entries.

    Returns:
        (B * depth, H, W, C). Volumes never see each other, nor do positions.
    """
    height, width = grid_of(tokens)
    columns = tokens.unflatten(0, (-1, depth)).permute(0, 2, 3, 1, 4)  # (B, H, W, D, C)
    mixed = attention(columns.flatten(0, 2))  # (B * H * W, D, C)
    return mixed.unflatten(0, (-1, height, width)).permute(0, 3, 1, 2, 4).flatten(0, 1)
