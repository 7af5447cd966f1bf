"""Training on labels that don't say everything: structures that weren't looked for, voxels that nobody labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.engines import PrepareBatch, default_prepare_batch
from monai.losses import DeepSupervisionLoss
from torch import Tensor
from torch.nn import functional as F

NEVER = -1e4
"""Logit of a class that can't be: its probability is 0 in float32, and float16 can hold it."""


class PartialTarget(NamedTuple):
    """What a batch's labels say, and what they don't."""

    label: Tensor
    """(B, 1, ...) class indices; a class that wasn't looked for is background, 0, and a voxel that nobody labelled has
    an index beyond the classes"""
    known: Tensor
    """(B, K+1) bool: the classes that were looked for, the background among them"""

    def ignoring(self, target: Tensor) -> Tensor:
        """Another target of the same shape (B, 1, ...), with the voxels that nobody labelled marked there as well."""
        return torch.where(self.label >= self.known.shape[1], self.label.to(target.dtype), target)


class PreparePartialBatch(PrepareBatch):
    """{"image", "label", "known"} → image and `PartialTarget`, and what the network is given while it trains.

    In a config: ``{"_target_": "pgsam_monai.training.partial.PreparePartialBatch", "extra_keys": {"label": "label"}}``,
    as MONAI's PrepareBatchExtraInput. In the "label" that a network is given, what isn't known is background.
    """

    def __init__(self, extra_keys: Mapping[str, str] | None = None) -> None:
        self.extra_keys = dict(extra_keys or {})

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        image, label = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        known = batchdata["known"].to(device=device, non_blocking=non_blocking)
        given = {"label": torch.where(label < known.shape[1], label, 0), "known": known}
        return (
            image,
            PartialTarget(label, known),
            (),
            {key: given[name] for key, name in self.extra_keys.items()},
        )


class PartialLoss(DeepSupervisionLoss):
    """A loss over one output or several, in which what the labels don't say has no part.

    Classes that weren't looked for may lie wherever the label has background, so these voxels are compared with the
    background and those classes taken together: the marginal loss of Shi et al., "Marginal loss and exclusion loss for
    partially supervised multi-organ segmentation", Medical Image Analysis 2021, section 3.2. How the network shares a
    voxel out among them changes nothing. The weight of a known class stays what it is with full labels. Voxels that
    nobody labelled are left out, as by nnU-Net's ignore label.

    Where a batch's labels say everything, it is MONAI's DeepSupervisionLoss of the same arguments, which are:
        loss: of logits (B, K+1, ...) and class indices (B, 1, ...), such as DiceCELoss with `batch=True`: voxels are
            left out of the whole batch at once.
        weight_mode, weights: of several outputs.
    """

    def forward(self, input: Tensor | Sequence[Tensor] | None, target: Tensor | PartialTarget) -> Tensor:
        """
        Args:
            input: logits (B, K+1, ...), or a list of them of any sizes, the finest first.
            target: the labels and what they say; of a plain tensor every class is known.

        Returns:
            the loss, float32; 0 where no voxel has a label.
        """
        if input is None:
            raise ValueError("input shouldn't be None.")
        if isinstance(input, Tensor):
            return self.get_loss(input.float(), target)
        total = torch.zeros((), device=input[0].device)
        for weight, output in zip(self.get_weights(len(input)), input, strict=True):
            total = total + weight * self.get_loss(output.float(), target)
        return total

    def get_loss(self, input: Tensor, target: Tensor | PartialTarget) -> Tensor:
        """Of one output, whose size the label is brought to."""
        label, known = target if isinstance(target, PartialTarget) else (target, None)
        if input.shape[2:] != label.shape[2:]:
            label = F.interpolate(label, size=input.shape[2:], mode=self.interp_mode)
        logits = input if known is None or bool(known.all()) else with_unknown_as_background(input, known)
        kept = label < logits.shape[1]
        if bool(kept.all()):
            return self.loss(logits, label)
        if not bool(kept.any()):
            return logits.sum() * 0
        return self.loss(*_voxels(logits, label, kept))


def with_unknown_as_background(logits: Tensor, known: Tensor) -> Tensor:
    """Logits in which the background stands for itself and every unknown class, and those can't be.

    Args:
        logits: (B, K+1, ...), the background first.
        known: (B, K+1) bool.

    Returns:
        of the same shape; their softmax has the sum of these probabilities as the background's, and the others' own.
    """
    known = known.reshape(*known.shape, *(1,) * (logits.ndim - 2)).to(logits.device)
    background = torch.zeros_like(known)
    background[:, 0] = True
    together = torch.where(known & ~background, NEVER, logits).logsumexp(dim=1, keepdim=True)
    return torch.where(background, together, torch.where(known, logits, NEVER))


def _voxels(logits: Tensor, label: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the batch that are `kept` (B, 1, ...): logits (1, K+1, n) and label (1, 1, n)."""
    index = kept.flatten().nonzero().flatten()
    flat = logits.movedim(1, 0).flatten(1)
    return flat[:, index].unsqueeze(0), label.flatten()[index].reshape(1, 1, -1)
