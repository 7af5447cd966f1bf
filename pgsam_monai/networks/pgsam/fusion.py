"""PG-SAM's multi-level feature fusion: learnt upsampling, joined by the guide.

The paper has it in two forms: Eq. 5 adds the guide, aligned by a deformable convolution (`GuidedFeatures`); its
Fig. 2(b) draws cross-attention (`AttendedFeatures`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pgsam_monai.networks.pgsam.aligner import Prior
from pgsam_monai.networks.pgsam.deformable import deformable_convolution, move
from pgsam_monai.networks.pgsam.features import MaskFeatures
from pgsam_monai.networks.sam.attend import attend
from pgsam_monai.networks.sam.mask_decoder import SkipFusion
from pgsam_monai.networks.sam.norm import LayerNorm2d
from pgsam_monai.transforms.fit import enlarge, sides

TAPS = 3
"""Side of the deformable kernel."""


class UpStage(nn.Module):
    """One stage of Eq. 4: GELU(LN(DeConv 2×2)), to twice the size and half the channels, and a skip if there is one."""

    def __init__(self, channels: int, *, skip_channels: int | None = None) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
        self.norm = LayerNorm2d(channels // 2)
        self.act = nn.GELU()
        self.skip = None if skip_channels is None else SkipFusion(skip_channels, channels // 2)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, C, H, W), skip (B, skip_channels, 2H, 2W) → (B, C/2, 2H, 2W)."""
        raised = self.act(self.norm(self.deconv(x)))
        return raised if self.skip is None else self.skip(raised, skip)


class Pyramid(nn.Module):
    """Eq. 4's two stages (channels 4:2:1) and Eq. 5's φ, a 1×1 convolution."""

    def __init__(
        self, *, dim: int = 256, out_channels: int = 32, skip_channels: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        first, second = skip_channels or (None, None)
        self.first = UpStage(dim, skip_channels=first)
        self.second = UpStage(dim // 2, skip_channels=second)
        self.phi = nn.Conv2d(dim // 4, out_channels, kernel_size=1)

    def forward(self, source: Tensor, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """The decoder's feature map (B, 256, h, w) → (B, 32, 4h, 4w)."""
        eighth, quarter = skips or (None, None)
        return self.phi(self.second(self.first(source, eighth), quarter))


class GuideCompression(nn.Module):
    """The 1×1 convolution that brings the guide to the masks' channels, and bilinear upsampling by 4.

    The convolution has no bias and W is one number per position, so compressing before weighting equals compressing
    after it, at 1/(K+1) of the work.
    """

    def __init__(self, *, dim: int = 256, out_channels: int = 16) -> None:
        super().__init__()
        self.compress = nn.Conv2d(dim, out_channels, kernel_size=1, bias=False)

    def forward(self, prior: Prior, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The prior on SAM's grid → guide (B, out_channels, H, W) and log W (B, K+1, H, W)."""
        return enlarge(self.compress(prior.guide), size), enlarge(prior.log_weights, size)


class GuideAlignment(nn.Module):
    """Eq. 5's ψ(Align(G; θ)): a deformable convolution whose offsets come from the image's fine features.

    Guide and weight maps stem from one coarse grid and are moved together: the guide by a full 3×3 kernel, the weight
    maps, which have nothing to mix, by the middle tap's offset alone.
    """

    def __init__(self, guide_channels: int = 16, channels: int = 32) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(guide_channels + channels, 2 * TAPS**2, kernel_size=3, padding=1)
        nn.init.zeros_(self.offsets.weight)  # starts as a plain convolution, as its authors do
        nn.init.zeros_(self.offsets.bias)
        self.kernel = nn.Parameter(torch.empty(channels, guide_channels, TAPS, TAPS))
        nn.init.kaiming_uniform_(self.kernel, a=5**0.5)
        self.psi_scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.psi_shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, plain: Tensor, guide: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """φ(F_up) (B, c, H, W), the enlarged guide (B, g, H, W) and log W (B, K+1, H, W) → ψ's term and log W."""
        offsets = self.offsets(torch.cat([plain, guide], dim=1))
        aligned = deformable_convolution(guide, offsets, self.kernel)
        middle = offsets[:, TAPS**2 - 1 : TAPS**2 + 1]
        return self.psi_scale * aligned + self.psi_shift, move(log_weights, middle)


class GuideAttention(nn.Module):
    """Fig. 2(b) in place of Eq. 5's alignment: the fine features ask the guide, and what it answers scales them.

    softmax(Q Kᵀ / √c) V ⊙ Q with Q the upsampled features and K, V the guide. The guide stays on SAM's grid, where it
    was made: keys that are copies of their neighbours would change the sum by nothing but rounding.
    """

    def __init__(self, *, dim: int = 256, channels: int = 32) -> None:
        super().__init__()
        self.key = nn.Conv2d(dim, channels, kernel_size=1, bias=False)
        self.value = nn.Conv2d(dim, channels, kernel_size=1, bias=False)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, plain: Tensor, guide: Tensor) -> Tensor:
        """φ(F_up) (B, c, H, W) and the guide on SAM's grid (B, 256, h, w) → its term (B, c, H, W)."""
        query, key, value = (
            x.flatten(2).transpose(1, 2).unsqueeze(1)  # (B, 1 head, positions, c)
            for x in (plain, self.key(guide), self.value(guide))
        )
        answer = attend(query, key, value).squeeze(1).transpose(1, 2).unflatten(-1, sides(plain, 2, 3))
        return self.scale * answer * plain


class AttendedFeatures(nn.Module):
    """Fig. 2(b)'s fusion; log W goes to the fine grid as it lies."""

    def __init__(self, *, dim: int = 256, channels: int = 32) -> None:
        super().__init__()
        self.attention = GuideAttention(dim=dim, channels=channels)

    def forward(self, plain: Tensor, prior: Prior) -> MaskFeatures:
        """φ(F_up) (B, c, H, W) and the prior on SAM's grid → features per class."""
        log_weights = enlarge(prior.log_weights, sides(plain, 2, 3))
        return MaskFeatures(plain, self.attention(plain, prior.guide), log_weights)


class GuidedFeatures(nn.Module):
    """Eq. 5: φ(F_up) + ψ(Align(G; θ)); without alignment the guide is added where it lies."""

    def __init__(self, *, dim: int = 256, channels: int = 32, align: bool = True) -> None:
        super().__init__()
        guide_channels = channels // 2 if align else channels
        self.compression = GuideCompression(dim=dim, out_channels=guide_channels)
        self.alignment = GuideAlignment(guide_channels, channels) if align else None

    def forward(self, plain: Tensor, prior: Prior) -> MaskFeatures:
        """φ(F_up) (B, c, H, W) and the prior on SAM's grid → features per class."""
        guide, log_weights = self.compression(prior, plain.shape[2:])
        if self.alignment is not None:
            guide, log_weights = self.alignment(plain, guide, log_weights)
        return MaskFeatures(plain, guide, log_weights)
