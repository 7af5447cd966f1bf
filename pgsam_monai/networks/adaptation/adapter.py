"""Bottleneck adapters: a few trained weights beside frozen layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault


class Adapter(nn.Module):
    """Down-projection, ReLU, up-projection (Med-SA, Section 3.2, Fig. 1b), without the residual.

    The up-projection starts at zero, so that a network with new adapters is the network without them; the paper is
    silent on that.
    """

    def __init__(self, dim: int, *, rank: int) -> None:
        """
        Args:
            dim: channels of the embedding.
            rank: channels in the middle.

        Raises:
            ValueError: `rank` is less than 1.
        """
        super().__init__()
        if rank < 1:
            raise UserFault(f"An adapter's rank must be at least 1, got {rank}; to do without, turn it off.")
        self.down = nn.Linear(dim, rank)
        self.up = nn.Linear(rank, dim)
        zero_(self.up)

    def forward(self, embedding: Tensor) -> Tensor:
        """(…, dim) → what is to be added, same shape."""
        return self.up(F.relu(self.down(embedding)))


def zero_(layer: nn.Linear) -> None:
    """Weight and bias become 0, in place."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
