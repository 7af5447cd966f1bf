"""PG-SAM's iterative mask optimizer: per-class kernels that correct the masks step by step (Eq. 6 and 7).

Repairs of Eq. 7, which the paper leaves open:

* σ must be able to take away as well as to add, so it is tanh: each step moves a value by at most λ either way.
* Clip(M + λΔM) has no gradient where it clips, and the loss takes the logarithm of M, which multiplies a correction's
  gradient by 1/M. The step is therefore taken on the logarithm: M_{t+1} = softmax(log M_t + λΔM_t) over the classes,
  which lies in 0..1, sums to 1, and passes gradients everywhere. The convolution reads M_t itself, as printed.
* T is not stated; the kernels Ω_i are those of the class, the same in every step (Eq. 6 gives them an i and no t).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.pgsam.features import MaskFeatures, add_shifted

KERNEL = 3
FIRST_STEP_SIZE = 0.5
"""λ before training, in logits."""


class MaskOptimizer(nn.Module):
    """Refines K + 1 mask logits by T residual corrections."""

    def __init__(self, *, token_dim: int = 256, channels: int = 32, steps: int = 3, hidden: int = 64) -> None:
        """
        Args:
            token_dim: length C of a mask encoding m_i.
            channels: channels c of the mask features.
            steps: T.
            hidden: width of the MLP of Eq. 6.

        Raises:
            ValueError: `steps` is less than 1.
        """
        super().__init__()
        if steps < 1:
            raise UserFault(
                f"PG-SAM: refinement_steps must be at least 1, got {steps}; mask_optimizer=False turns it off."
            )
        self.steps = steps
        self.hypernetwork = nn.Sequential(
            nn.Linear(token_dim, hidden), nn.GELU(), nn.Linear(hidden, 1 + channels)
        )
        nn.init.ones_(self.hypernetwork[2].bias)  # the gates start around 1: Ω = W_base
        self.base_kernel = nn.Parameter(torch.empty(1 + channels, KERNEL, KERNEL))
        nn.init.normal_(self.base_kernel, std=(KERNEL * KERNEL * (1 + channels)) ** -0.5)
        self.step_size = nn.Parameter(torch.tensor(FIRST_STEP_SIZE))

    def kernels(self, tokens: Tensor) -> Tensor:
        """Eq. 6, Ω_i = MLP(m_i) ⊙ W_base: tokens (B, K+1, C) → (B, K+1, 1 + c, 3, 3), the mask's channel first."""
        return self.hypernetwork(tokens)[..., None, None] * self.base_kernel

    def forward(self, logits: Tensor, features: MaskFeatures, tokens: Tensor) -> Tensor:
        """Eq. 7: logits (B, K+1, H, W), their features, tokens (B, K+1, C) → refined logits, same shape.

        The convolution is linear and the features don't change, so their share is computed once for all steps.
        """
        kernels = self.kernels(tokens)
        mask_kernel, feature_kernel = kernels[:, :, :1], kernels[:, :, 1:]
        constant = features.convolve(feature_kernel)
        for _ in range(self.steps):
            correction = torch.tanh(convolve_each(logits.softmax(dim=1), mask_kernel) + constant)
            logits = logits + self.step_size * correction
        return logits


def convolve_each(masks: Tensor, kernels: Tensor) -> Tensor:
    """Each mask of each image with its own kernel: (B, K, H, W), (B, K, 1, 3, 3) → (B, K, H, W)."""
    if torch.jit.is_tracing():  # a trace would keep this batch's number of groups
        return add_shifted(kernels.flatten(2).to(masks.dtype)[..., None, None] * masks.unsqueeze(2), KERNEL)
    batch, classes, height, width = masks.shape
    kernels = kernels.flatten(0, 1).to(masks.dtype)
    stacked = masks.reshape(1, batch * classes, height, width)
    return F.conv2d(stacked, kernels, padding=KERNEL // 2, groups=batch * classes).view_as(masks)
