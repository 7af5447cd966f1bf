"""H-SAM's hierarchical pixel decoder: up to the image's own resolution, joined by the first stage's (Section 3.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pgsam_monai.networks.sam.mask_decoder import MaskDecoder, SkipFusion
from pgsam_monai.networks.sam.norm import LayerNorm2d


class PlainPixelDecoder(nn.Module):
    """What Table 4 compares it with: SAM's own, to 4 times the embedding's size, no skip from the first stage."""

    def __init__(self, *, dim: int = 256, skip_channels: tuple[int, ...] = ()) -> None:
        """`skip_channels`: of the encoder's features at strides 8 and 4, as in `MaskDecoder`."""
        super().__init__()
        self.out_channels = dim // 8
        self.output_upscaling = nn.Sequential(  # as SAM's, whose weights fit
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.skips = nn.ModuleList(
            SkipFusion(channels, width)
            for channels, width in zip(skip_channels, (dim // 4, dim // 8), strict=False)
        )

    upscale = MaskDecoder.upscale

    def forward(self, source: Tensor, first: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        """Image tokens (B, 256, h, w), the encoder's `skips` where it has any → (B, 32, 4h, 4w)."""
        return self.upscale(source, skips)


class HierarchicalPixelDecoder(PlainPixelDecoder):
    """SAM's two upscaling steps, a skip from the first stage's, two steps more: channels 256, 64, 32 + 32, 32, 16."""

    def __init__(self, *, dim: int = 256, skip_channels: tuple[int, ...] = (), stride: int = 16) -> None:
        """`stride`: pixels per cell of the embedding, which says how far it is to the image's own size: where SAM's
        steps already end there, at stride 4, the further two keep the size."""
        super().__init__(dim=dim, skip_channels=skip_channels)
        self.out_channels = dim // 16
        step = math.isqrt(stride // 4)
        self.to_full_size = nn.Sequential(
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=step, stride=step),
            LayerNorm2d(dim // 8),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 8, dim // 16, kernel_size=step, stride=step),
            nn.GELU(),
        )

    def forward(self, source: Tensor, first: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        """Image tokens (B, 256, h, w), the first stage's upscaled ones (B, 32, 4h, 4w) → (B, 16, H, W)."""
        return self.to_full_size(torch.cat([self.upscale(source, skips), first], dim=1))
