"""The adapter that teaches a frozen block about volumes (Section 3.2.4, Eq. I, Fig. 1C)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.networks.adaptation.adapter import zero_


class VolumeAdapter(nn.Module):
    """X + Act(DW(Act(X · W_down))) · W_up, with ReLU and a depth-wise 3 × 3 × 3 convolution DW.

    Eq. I has one activation and, in words, the convolution after the down-projection; here either has one, as linear
    layers in a row would be one. The up-projection starts at zero, so that a network with new adapters is the network
    without them; the paper is silent on that.
    """

    def __init__(self, dim: int, *, width: int | None = None) -> None:
        """
        Args:
            dim: channels C of a token.
            width: channels in the middle; half of `dim` by default.
        """
        super().__init__()
        width = dim // 2 if width is None else width
        self.down = nn.Linear(dim, width)
        self.conv = nn.Conv3d(width, width, kernel_size=3, padding=1, groups=width)
        self.up = nn.Linear(width, dim)
        zero_(self.up)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, h, w, d, C) → same shape."""
        narrow = F.relu(self.down(tokens)).permute(0, 4, 1, 2, 3)
        return tokens + self.up(F.relu(self.conv(narrow)).permute(0, 2, 3, 4, 1))
