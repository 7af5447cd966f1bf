"""Patch embedding of volumes: SAM's convolution in the plane, a learned one along depth (Section 3.2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.sam.image_encoder import PATCH

PLANE_SIDES = (4, 8, 16)
"""Voxels per token, p, along rows and columns: SAM's 16 divided by a power of two."""
DEPTH_SIDES = (1, 2, 4, 8, 16)
"""Voxels per token, p_d, along slices."""


class FactoredPatchEmbedding(nn.Module):
    """A p × p × p_d convolution made of SAM's p × p × 1 kernel and a depth-wise 1 × 1 × p_d one.

    With p < 16, SAM's 16 × 16 kernel is summed over blocks of 16 / p: what it says of the image enlarged 16 / p times
    by nearest neighbour. Both convolutions follow each other without anything in between, so their kernels are
    multiplied and one convolution is run.
    """

    def __init__(self, embed_dim: int, token_size: Sequence[int], in_channels: int = 3) -> None:
        """
        Args:
            embed_dim: channels C of a token.
            token_size: voxels per token (p, p, p_d): rows, columns, slices.
            in_channels: channels of the image.

        Raises:
            ValueError: p is not in `PLANE_SIDES` or p_d not in `DEPTH_SIDES`.
        """
        super().__init__()
        self.token_size = check_token_size(token_size)
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=PATCH, stride=PATCH)
        p_d = self.token_size[2]
        self.depth = nn.Parameter(torch.full((embed_dim, p_d), 1 / p_d))  # the mean of the slices' embeddings

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W, D) → tokens (B, H/p, W/p, D/p_d, C).

        Raises:
            ValueError: a side is no multiple of `token_size`.
        """
        if not torch.jit.is_tracing():
            check_sides(image.shape[2:], self.token_size, who="RefSAM3D's image")
        kernel, bias = self.kernel()
        return F.conv3d(image, kernel, bias, stride=self.token_size).permute(0, 2, 3, 4, 1)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Both convolutions as one: its kernel (C, 3, p, p, p_d) and its bias (C,)."""
        p = self.token_size[0]
        blocks = self.proj.weight.unflatten(3, (p, -1)).unflatten(2, (p, -1))  # (C, 3, p, 16/p, p, 16/p)
        plane = blocks.sum(dim=(3, 5)).unsqueeze(-1)  # (C, 3, p, p, 1)
        return plane * self.depth[:, None, None, None], self.proj.bias * self.depth.sum(1)


def check_token_size(token_size: Sequence[int]) -> tuple[int, int, int]:
    """`token_size` as a tuple; ValueError unless it is (p, p, p_d) with sides that exist."""
    sizes = tuple(int(side) for side in token_size)
    if len(sizes) == 3 and sizes[0] == sizes[1] and sizes[0] in PLANE_SIDES and sizes[2] in DEPTH_SIDES:
        return sizes
    raise UserFault(
        f"token_size must be (p, p, p_d) with p of {PLANE_SIDES} and p_d of {DEPTH_SIDES} voxels, got {sizes}."
    )


def check_sides(sides: Sequence[int], token_size: Sequence[int], *, who: str) -> None:
    """Raise ValueError unless the three `sides` in voxels are positive multiples of `token_size`."""
    sides = tuple(int(side) for side in sides)
    if len(sides) != 3 or any(side < 1 or side % unit for side, unit in zip(sides, token_size, strict=True)):
        near = tuple(max(1, -(-side // unit)) * unit for side, unit in zip(sides, token_size, strict=False))
        raise UserFault(
            f"{who}: its sides (rows, columns, slices) must be multiples of {tuple(token_size)} voxels, "
            f"got {sides}; pad it, for example to {near}."
        )
