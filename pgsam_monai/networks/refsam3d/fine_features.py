"""What a token is too coarse for: convolutional features of the volume itself, for the decoder's finest steps.

Ours, not the paper's: there, whatever enters the decoder beside the volume has the resolution of tokens. The 2-D
`vit_tiny` has such a stem, and nnU-Net's skips do the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

NORM_GROUPS = 8
Stride = tuple[int, int, int]


class FineFeatures(nn.Module):
    """A pyramid of convolutions from the finest level down, a level for each step that it is added to."""

    def __init__(
        self,
        in_channels: int,
        *,
        widths: Sequence[int],
        strides: Sequence[Stride],
        finest: Stride = (1, 1, 1),
    ) -> None:
        """
        Args:
            in_channels: of the volume.
            widths: channels of each level, the coarsest first, multiples of 8.
            strides: by how much each level is finer than the one before it, per axis; the first isn't looked at.
            finest: voxels per cell of the finest level, per axis.
        """
        super().__init__()
        finer = [finest, *reversed(strides[1:])]  # from the volume down: the strides that lead there
        inputs = (in_channels, *reversed(widths[1:]))
        self.levels = nn.ModuleList(
            _level(before, width, stride)
            for before, width, stride in zip(inputs, reversed(widths), finer, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Volume (B, C, H, W, D), 0..1 → each level's features (B, width, h, w, d), the coarsest first."""
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features[::-1]


def _level(channels: int, width: int, stride: Stride) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(NORM_GROUPS, width),
        nn.GELU(),
        nn.Conv3d(width, width, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(NORM_GROUPS, width),
    )
