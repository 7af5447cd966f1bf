"""What a conversation's answers cost, every one of them."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from pgsam_monai.pretraining.clicking import at_points
from pgsam_monai.pretraining.network import Answers
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE


class ConversationLoss(_Loss):
    """Cross-entropy and Dice of each answer, cross-entropy at the clicked pixels, and the error of its own estimate.

    Args:
        click_weight: of the clicked pixels: an answer shall obey what was said.
        quality_weight: of the squared error of the estimated IoU, as in SAM.
    """

    def __init__(self, click_weight: float = 0.3, quality_weight: float = 0.1) -> None:
        super().__init__()
        self.click_weight, self.quality_weight = click_weight, quality_weight
        self.of_masks = DiceCELoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)

    def forward(self, answers: Answers, label: Tensor) -> Tensor:
        """`label` (B, Q, S, S), 1 where the P = B · Q targets are → the mean over targets and answers."""
        targets = label.flatten(0, 1)
        costs = [
            self.of_masks(logits.unsqueeze(1), targets.unsqueeze(1).float())
            + self.click_weight * _of_clicks(logits, *answers.said_before(number))
            + self.quality_weight * _of_estimate(quality, logits > 0, targets > 0)
            for number, (logits, quality) in enumerate(zip(answers.logits, answers.quality, strict=True))
        ]
        return torch.stack(costs).mean()


def _of_clicks(logits: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of what each click says, at its pixel; 0 where nobody clicked."""
    clicked = (labels == POSITIVE) | (labels == NEGATIVE)
    costs = F.binary_cross_entropy_with_logits(
        at_points(logits, points), (labels == POSITIVE).float(), reduction="none"
    )
    return (costs * clicked).sum() / clicked.sum().clamp(min=1)


def _of_estimate(quality: Tensor, found: Tensor, targets: Tensor) -> Tensor:
    """Squared error of the estimated IoU (P,) of masks (P, S, S) of bool."""
    right, union = (one.sum(dim=(1, 2)) for one in (found & targets, found | targets))
    return (quality - right / union.clamp(min=1)).square().mean()
