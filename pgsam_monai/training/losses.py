"""Losses that MONAI has no place for."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from pgsam_monai.networks.refsam3d.referring import Referred
from pgsam_monai.training.partial import PartialTarget


class RequestLoss(_Loss):
    """One loss for both of RefSAM3D's questions: all classes at once, or one structure by its text.

    In a config: ``{"_target_": "pgsam_monai.training.losses.RequestLoss",
    "loss": {"_target_": "monai.losses.DeepSupervisionLoss", …}}``.
    """

    def __init__(self, loss: nn.Module) -> None:
        """`loss`: of logits, or a list of them where the network has several scales, and class indices, for any number
        of classes, so without weights per class."""
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor | list[Tensor] | Referred, label: Tensor | PartialTarget) -> Tensor:
        """
        Args:
            outputs: logits (B, K+1, H, W, D), alone or first of a list of scales, or the answer to a request together
                with its own target, and all classes' of the same step, whose loss is added.
            label: class indices (B, 1, H, W, D), of which an answer to a request by itself needs no more than the
                voxels that nobody labelled.

        Returns:
            the loss, as `loss` reduces it.
        """
        if isinstance(outputs, Referred):
            partial = isinstance(label, PartialTarget)
            target = label.ignoring(outputs.target) if partial else outputs.target
            answer = self.loss(outputs.logits, target)
            return answer if outputs.together is None else answer + self.loss(outputs.together, label)
        return self.loss(outputs, label)
