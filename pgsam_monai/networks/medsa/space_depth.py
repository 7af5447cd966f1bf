"""SD-Trans: how what a block saw within a slice and across slices become one (Med-SA, Section 3.3, Table 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.adaptation.adapter import zero_
from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads
from pgsam_monai.networks.sam.attention import across_slices

DEPTH_FUSIONS = ("add", "gated", "concat", "cross", "none")


def build_fusion(kind: str, dim: int, *, heads: int, rank: int) -> nn.Module | None:
    """The fusion of that name; None for "none", which has no depth branch.

    Raises:
        ValueError: unknown `kind`.
    """
    if kind not in DEPTH_FUSIONS:
        raise UserFault(f"depth_fusion must be one of {', '.join(DEPTH_FUSIONS)}, got '{kind}'.")
    makers = {
        "add": AddFusion,
        "gated": lambda: GatedFusion(dim),
        "concat": lambda: ConcatFusion(dim, rank=rank),
        "cross": lambda: CrossFusion(dim, heads=heads),
    }
    return makers[kind]() if kind in makers else None


class AddFusion(nn.Module):
    """The sum of both branches: the paper's choice, without parameters."""

    def forward(self, space: Tensor, across: Tensor, depth: int) -> Tensor:
        """Both branches (B * depth, H, W, C) → one, same shape."""
        return space + across


class GatedFusion(nn.Module):
    """The sum, the depth branch times a learnt factor per channel that starts at 0.

    Ours: the plain sum doubles what every frozen block receives before anything is learnt, and so destroys pretrained
    features; this one starts as the network without depth.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, space: Tensor, across: Tensor, depth: int) -> Tensor:
        """As `AddFusion`."""
        return space + self.gate * across


class ConcatFusion(nn.Module):
    """Both branches side by side through a bottleneck, added to the space branch.

    The paper counts no parameters here, but then nothing leads from two lengths back to one.
    """

    def __init__(self, dim: int, *, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(2 * dim, rank)
        self.up = nn.Linear(rank, dim)
        zero_(self.up)

    def forward(self, space: Tensor, across: Tensor, depth: int) -> Tensor:
        """As `AddFusion`."""
        return space + self.up(F.relu(self.down(torch.cat([space, across], dim=-1))))


class CrossFusion(nn.Module):
    """The space branch asks, the depth branch of all slices at its position answers.

    Four dim × dim layers: with ViT-B's 12 blocks of 768 that makes 28.3 M parameters, Table 8's figure.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        zero_(self.proj)

    def forward(self, space: Tensor, across: Tensor, depth: int) -> Tensor:
        """As `AddFusion`."""
        return space + across_slices(self._attend, torch.cat([space, across], dim=-1), depth)

    def _attend(self, both: Tensor) -> Tensor:
        """(sequences, depth, 2C), the space branch first → (sequences, depth, C)."""
        asking, answering = both.chunk(2, dim=-1)
        query, key, value = (
            split_heads(layer(tokens), self.heads)
            for layer, tokens in ((self.q, asking), (self.k, answering), (self.v, answering))
        )
        return self.proj(join_heads(attend(query, key, value)))
