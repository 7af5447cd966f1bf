"""Features at a quarter of the input from which masks are made, plain or guided by one map per class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class MaskFeatures(NamedTuple):
    """F_fusion of class k (Eq. 5) in its terms: `plain` + `weights`[k] ⊙ `guide`.

    The guide matrix of a class is a product with its weight map (Eq. 3), and what follows keeps that form; so
    K + 1 stacks of c channels are never made.
    """

    plain: Tensor
    """φ(F_up), (B, c, H, W)"""
    guide: Tensor | None = None
    """the guide's own term before weighting, (B, c, H, W); None without a prior"""
    log_weights: Tensor | None = None
    """log W on this grid, (B, K+1, H, W)"""

    @property
    def weights(self) -> Tensor:
        """W on this grid, (B, K+1, H, W), in the features' type."""
        return self.log_weights.exp().to(self.plain.dtype)

    def masks(self, kernels: Tensor) -> Tensor:
        """Dot products of F_fusion with each class's weights (B, K+1, c), and log W → logits (B, K+1, H, W).

        Under a softmax the sum is posterior ∝ likelihood × prior: what the features say of this place, times what the
        class's text says of it.
        """
        logits = torch.einsum("bkc,bchw->bkhw", kernels, self.plain)
        if self.guide is None:
            return logits
        return logits + self.weights * torch.einsum("bkc,bchw->bkhw", kernels, self.guide) + self.log_weights

    def convolve(self, kernels: Tensor) -> Tensor:
        """Zero-padded k×k convolution of each class's features with its kernel (B, K+1, c, k, k) → (B, K+1, H, W).

        Each tap's sum over channels is one matrix product over the shared terms; the products are then weighted by W
        and added where the taps point. This never makes the K + 1 stacks of c channels (on a CPU, 7 times as fast).
        """
        classes, side = kernels.shape[1], kernels.shape[-1]
        taps = kernels.flatten(3).transpose(2, 3).flatten(1, 2).to(self.plain.dtype)  # (B, (K+1)k², c)
        products = torch.bmm(taps, self.plain.flatten(2)).unflatten(1, (classes, -1))  # (B, K+1, k², HW)
        if self.guide is not None:
            guided = torch.bmm(taps, self.guide.flatten(2)).unflatten(1, (classes, -1))
            products = products + self.weights.flatten(2).unsqueeze(2) * guided
        return add_shifted(products.unflatten(-1, self.plain.shape[2:]), side)


def add_shifted(products: Tensor, side: int) -> Tensor:
    """Products of k² taps in row order (B, K, k², H, W) → their sum, each read where its tap lies: (B, K, H, W)."""
    height, width = products.shape[3:]
    padded = F.pad(products, (side // 2,) * 4)
    return sum(
        padded[:, :, side * row + column, row : row + height, column : column + width]
        for row in range(side)
        for column in range(side)
    )
