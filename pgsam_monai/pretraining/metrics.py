"""How well conversations go: mean Dice after the first answer and after each further click, and obedience."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from pgsam_monai.pretraining.network import Answers
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE


class ConversationMetrics(Metric):
    """The mean Dice of the last answer; beside it, in the engine's metrics, "dice_1", "dice_2", … of each answer and
    "obeyed", the share of clicks, over all answers since, at whose pixel the answer is what they said."""

    def reset(self) -> None:
        self._dice: list[Tensor] = []
        self._obeyed, self._clicks = 0, 0

    def update(self, output: tuple[Answers, Tensor]) -> None:
        """Answers and the label (B, Q, S, S) of a batch."""
        answers, label = output
        targets = label.flatten(0, 1) > 0
        found = torch.stack(answers.logits) > 0  # (R, P, S, S)
        both = (found & targets).sum(dim=(2, 3))
        either = found.sum(dim=(2, 3)) + targets.sum(dim=(1, 2))
        self._dice.append((2 * both / either.clamp(min=1)).cpu())
        said = answers.labels.shape[1] - len(found)
        for number, mask in enumerate(found, start=1):
            obeyed, clicks = count_obeyed(
                mask, answers.points[:, : said + number], answers.labels[:, : said + number]
            )
            self._obeyed, self._clicks = self._obeyed + obeyed, self._clicks + clicks

    def compute(self) -> float:
        return float(self._means()[-1])

    def completed(self, engine: Engine, name: str) -> None:
        super().completed(engine, name)
        for number, dice in enumerate(self._means().tolist(), start=1):
            engine.state.metrics[f"dice_{number}"] = dice
        engine.state.metrics["obeyed"] = self._obeyed / max(1, self._clicks)

    def _means(self) -> Tensor:
        return torch.cat(self._dice, dim=1).mean(dim=1)


def count_obeyed(found: Tensor, points: Tensor, labels: Tensor) -> tuple[int, int]:
    """How many clicks masks (P, S, S) of bool obey, and how many there are: points (P, N, 2), labels (P, N)."""
    size = found.shape[-1]
    columns, rows = points.round().long().clamp(0, size - 1).unbind(dim=-1)
    inside = found.flatten(1).gather(1, rows * size + columns)
    positive, negative = labels == POSITIVE, labels == NEGATIVE
    obeyed = (positive & inside) | (negative & ~inside)
    return int(obeyed.sum()), int((positive | negative).sum())
