"""What a conversation's answers cost, every one of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

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

    def forward(self, answers: Answers, label: Tensor) -> Tensor:
        """`label` (B, Q, S, S), 1 where the P = B · Q targets are → the mean over targets and answers."""
        targets = label.flatten(0, 1).float()
        said = answers.labels.shape[1] - len(answers.logits)
        costs = [
            self._cost(
                logits,
                quality,
                targets,
                answers.points[:, : said + number],
                answers.labels[:, : said + number],
            )
            for number, (logits, quality) in enumerate(
                zip(answers.logits, answers.quality, strict=True), start=1
            )
        ]
        return torch.stack(costs).mean()

    def _cost(
        self, logits: Tensor, quality: Tensor, targets: Tensor, points: Tensor, labels: Tensor
    ) -> Tensor:
        cross_entropy = F.binary_cross_entropy_with_logits(logits, targets)
        share = logits.sigmoid()
        both, either = (share * targets).sum(dim=(1, 2)), (share + targets).sum(dim=(1, 2))
        dice = 1 - ((2 * both + 1) / (either + 1)).mean()
        right = ((logits > 0) & (targets > 0)).sum(dim=(1, 2))
        union = ((logits > 0) | (targets > 0)).sum(dim=(1, 2)).clamp(min=1)
        estimate = (quality - right / union).square().mean()
        clicks = self.click_weight * _at_clicks(logits, points, labels)
        return cross_entropy + dice + clicks + self.quality_weight * estimate


def _at_clicks(logits: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of what each click says, at its pixel; 0 where nobody clicked."""
    clicked = (labels == POSITIVE) | (labels == NEGATIVE)
    columns, rows = points.round().long().unbind(dim=-1)
    size = logits.shape[-1]
    picked = logits.flatten(1).gather(1, rows.clamp(0, size - 1) * size + columns.clamp(0, size - 1))
    costs = F.binary_cross_entropy_with_logits(picked, (labels == POSITIVE).float(), reduction="none")
    return (costs * clicked).sum() / clicked.sum().clamp(min=1)
