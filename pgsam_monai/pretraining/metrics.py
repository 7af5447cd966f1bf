"""How well conversations go: mean Dice after the first answer and after each further click, and obedience."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from pgsam_monai.pretraining.clicking import at_points
from pgsam_monai.pretraining.network import Answers
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE


class ConversationMetrics(Metric):
    """The mean Dice of the last answer; beside it, in the engine's metrics, "dice_1", "dice_2", … of each answer and
    "obeyed", the share of clicks, over all answers since, at whose pixel the answer is what they said. Of all processes
    together."""

    def reset(self) -> None:
        self._totals: Tensor | None = None
        """(R + 3,) sums: Dice of each of R answers, targets, clicks obeyed, clicks"""
        self._told: dict[str, float] = {}

    def update(self, output: tuple[Answers, Tensor]) -> None:
        """Answers and the label (B, Q, S, S) of a batch."""
        answers, label = output
        targets = label.flatten(0, 1) > 0
        found = torch.stack(answers.logits) > 0  # (R, P, S, S)
        both = (found & targets).sum(dim=(2, 3))
        either = found.sum(dim=(2, 3)) + targets.sum(dim=(1, 2))
        dice = (2 * both / either.clamp(min=1)).sum(dim=1)  # (R,)
        obeyed = sum(count_obeyed(mask, *answers.said_before(number)) for number, mask in enumerate(found))
        totals = torch.cat([dice, dice.new_tensor([len(targets)]), obeyed]).double()
        self._totals = totals if self._totals is None else self._totals + totals

    def compute(self) -> float:
        *dice, targets, obeyed, clicks = idist.all_reduce(self._totals.to(idist.device())).tolist()
        means = [each / targets for each in dice]
        self._told = {f"dice_{number}": mean for number, mean in enumerate(means, start=1)}
        self._told["obeyed"] = obeyed / max(1, clicks)
        return means[-1]

    def completed(self, engine: Engine, name: str) -> None:
        super().completed(engine, name)
        engine.state.metrics.update(self._told)


def count_obeyed(found: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """How many clicks masks (P, S, S) of bool obey, and how many there are, (2,): points (P, N, 2), labels (P, N)."""
    inside, positive, negative = at_points(found, points), labels == POSITIVE, labels == NEGATIVE
    obeyed = (positive & inside) | (negative & ~inside)
    return torch.stack([obeyed.sum(), (positive | negative).sum()])
