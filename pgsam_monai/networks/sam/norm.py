"""Layer normalisation over channels, quicker than `segment_anything`'s own."""

from __future__ import annotations

from segment_anything.modeling.common import LayerNorm2d as SamLayerNorm2d
from torch import Tensor
from torch.nn import functional as F


class LayerNorm2d(SamLayerNorm2d):
    """`segment_anything`'s channel norm, same parameters and result, in one kernel instead of eight."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → same shape, each pixel normalised over its channels."""
        channels_last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)
