"""H-SAM's class-balanced feature augmentation: noise that is the stronger the rarer the class (Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault

PARTS = 10**9
"""Planned frequencies are kept as counts of so many voxels."""


class ClassNoise(nn.Module):
    """P(gt == i) += N(0, var(i)), var(i) = std² · f_min / f_i: the rarest class gets the standard deviation `std`.

    The paper computes the variances beforehand from the label frequencies of the data set, here the plan's. A plan
    that was made without data knows none: then they are counted from the labels as training shows them, and the
    counts are part of the checkpoint.
    """

    def __init__(self, *, num_classes: int, frequencies: Sequence[float] | None, std: float) -> None:
        """
        Args:
            num_classes: foreground classes K.
            frequencies: share of each of the K + 1 classes among all voxels, background first; None to count them.
            std: standard deviation at the rarest class's positions; 0 for no noise.

        Raises:
            ValueError: not K + 1 frequencies, a negative one, none above zero, or a negative `std`.
        """
        super().__init__()
        if std < 0:
            raise UserFault(f"noise_std must be at least 0, got {std}.")
        if frequencies is not None:
            _check_frequencies(frequencies, num_classes)
        self.std = std
        self.counting = frequencies is None
        shares = [0.0] * (num_classes + 1) if frequencies is None else frequencies
        self.register_buffer("counts", torch.tensor([round(PARTS * share) for share in shares]))

    def deviations(self) -> Tensor:
        """Standard deviation of each class's noise (K+1,); `std` for a class never seen."""
        counts = self.counts.float()
        seen = counts > 0
        rarest = counts.masked_fill(
            ~seen, torch.inf
        ).min()  # a GPU would have to wait for a choice of those seen
        return self.std * torch.where(seen, rarest / counts.clamp(min=1), 1.0).sqrt()

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        """
        Args:
            features: normalised mask features P (B, K+1, h, w).
            label: class indices (B, 1, H, W) of any size; resized here to the nearest neighbour.

        Returns:
            P with noise at each position, in all its channels, by the class there.
        """
        if self.counting:
            self.counts += count_classes(label, len(self.counts))
        classes = F.interpolate(label.float(), size=features.shape[2:], mode="nearest-exact").long()
        deviations = self.deviations()[classes].to(features.dtype)  # (B, 1, h, w)
        return features + deviations * torch.randn_like(features)


def count_classes(label: Tensor, number: int) -> Tensor:
    """How many voxels of class indices of any shape are of each of `number` classes: (number,) int64.

    As `torch.bincount`, which asks a GPU for the largest index and waits for its answer.
    """
    classes = torch.arange(number, device=label.device, dtype=label.dtype)
    return (label.flatten() == classes.unsqueeze(1)).sum(dim=1)


def _check_frequencies(frequencies: Sequence[float], num_classes: int) -> None:
    if len(frequencies) != num_classes + 1:
        raise UserFault(
            f"class_frequencies must hold {num_classes + 1} shares, background first, got {len(frequencies)}."
        )
    if min(frequencies) < 0 or max(frequencies) <= 0:
        raise UserFault(f"class_frequencies must be shares of which one is above 0, got {list(frequencies)}.")
