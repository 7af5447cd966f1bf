"""Hierarchical cross-attention: the encoder's stages meet the text (paper, Section 3.3.4, Fig. 2, Eq. VI to VIII).

Two of the printed formulas can't be computed as they stand. Eq. VII multiplies attention weights (DHW, L) by values
"similarly dimensioned" as the image features (DHW, C): here the values come from the text (L, C), as the keys do. And
Eq. VIII concatenates N outputs of C channels to something that still has C: here a linear layer follows, N·C → C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads
from pgsam_monai.transforms.fit import sides


class CrossModalPrompts(NamedTuple):
    """What the image has read in the text."""

    dense: Tensor
    """O of Eq. VIII (B, C, h, w, d), for SAM's dense prompt."""
    stages: tuple[Tensor | None, ...]
    """O_i of Eq. VII (B, C, h, w, d), shallow first; None for a stage that takes no part."""


class StageCrossAttention(nn.Module):
    """O_i = LayerNorm(V'_i + W_o · softmax(Q_i Kᵀ / √d_k) · V), Q_i = W_q V'_i, K = W_k T, V = W_v T (Eq. VI, VII).

    The sum with the stage's own features and the norm are not in the formulas. With them a voxel knows where it is:
    mixtures of L words alone would be the same wherever the weights are.
    """

    def __init__(self, dim: int = 256, heads: int = 8) -> None:
        """
        Args:
            dim: C, channels of image and text.
            heads: the scores of each are taken over d_k = C / heads channels; 1 for the formula as printed.

        Raises:
            ValueError: `dim` can't be split into `heads`.
        """
        super().__init__()
        if dim % heads:
            raise UserFault(f"Cross-attention: heads must divide the {dim} channels, got {heads}.")
        self.heads = heads
        self.q, self.v, self.out = (nn.Linear(dim, dim) for _ in range(3))
        self.k = nn.Linear(dim, dim, bias=False)  # what all keys gain changes no softmax
        self.norm = nn.LayerNorm(dim)

    def forward(self, stage: Tensor, text: Tensor, present: Tensor | None = None) -> Tensor:
        """
        Args:
            stage: V'_i, tokens of the image (B, N, C).
            text: T, words or sentences (B, L, C).
            present: (B, L) bool, False where a word only fills up its row; each row has one word at least. None if
                all are present.

        Returns:
            O_i (B, N, C).
        """
        query, key, value = (
            split_heads(layer(tokens), self.heads)
            for layer, tokens in ((self.q, stage), (self.k, text), (self.v, text))
        )
        bias = None
        if present is not None:
            bias = torch.zeros_like(present, dtype=query.dtype).masked_fill(~present, -math.inf)
            bias = bias[:, None, None].expand(-1, self.heads, query.shape[2], -1)
        return self.norm(stage + self.out(join_heads(attend(query, key, value, bias))))


class HierarchicalCrossAttention(nn.Module):
    """One cross-attention per stage, each with its own weights, and what they come to together (Eq. VIII)."""

    def __init__(
        self, dim: int = 256, heads: int = 8, *, stages: Sequence[int] = (1, 2, 3, 4), taps: int = 4
    ) -> None:
        """
        Args:
            dim: C, channels of image and text.
            heads: of each attention.
            stages: those that meet the text, from 1 (Table 5).
            taps: how many stages there are, N.

        Raises:
            ValueError: `stages` is empty, repeats one or names one that isn't there, or `heads` doesn't divide
                `dim`.
        """
        super().__init__()
        if not stages or len(set(stages)) < len(stages) or not set(stages) <= set(range(1, taps + 1)):
            raise UserFault(
                f"Cross-attention: stages must be some of 1 to {taps}, each once, got {list(stages)}."
            )
        self.taps = taps
        self.attentions = nn.ModuleDict({str(i): StageCrossAttention(dim, heads) for i in sorted(stages)})
        self.combine = nn.Linear(len(stages) * dim, dim)

    def begin_without(self) -> None:
        """Let every O_i, and so O, start at zero: a pretrained decoder first gets the embedding that it knows, and
        one of random weights learns sooner (docs/results.md)."""
        nn.init.zeros_(self.combine.bias)
        for attention in self.attentions.values():
            nn.init.zeros_(attention.norm.weight)

    def forward(
        self, taps: Sequence[Tensor], text: Tensor, present: Tensor | None = None
    ) -> CrossModalPrompts:
        """
        Args:
            taps: the encoder's N stages V'_1 to V'_N, each (B, C, h, w, d).
            text: words or sentences (B, L, C).
            present: (B, L) bool, or None if all are present.

        Returns:
            the combined prompt and each stage's own.

        Raises:
            ValueError: not N stages.
        """
        if len(taps) != self.taps:
            raise UserFault(f"Cross-attention: the image must come in {self.taps} stages, got {len(taps)}.")
        grid = sides(taps[0], 2, 3, 4)
        outputs = {
            name: attention(taps[int(name) - 1].flatten(2).transpose(1, 2), text, present)
            for name, attention in self.attentions.items()
        }
        combined = self.combine(torch.cat(list(outputs.values()), dim=-1))
        stages = (outputs.get(str(i)) for i in range(1, self.taps + 1))
        return CrossModalPrompts(
            _volume(combined, grid), tuple(None if each is None else _volume(each, grid) for each in stages)
        )


def _volume(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, h * w * d, C) → (B, C, h, w, d)."""
    return tokens.transpose(1, 2).unflatten(-1, grid)
