"""Dice of label maps, cheap enough for validation while training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric

from pgsam_monai.base.errors import UserFault


class LabelDice(CumulativeIterationMetric):
    """Dice per class of class-index maps, without one-hot encoding: one count of index pairs per case.

    Call it with prediction and label of shape (B, 1, ...), or lists of (1, ...), holding 0..K, 0 background.
    Each case gives K values: NaN where neither map holds the class, 0 where only one does. `aggregate` gives
    the mean over classes of each class's mean over cases, NaN left out: the overall Dice of
    `pgsam_monai.metrics.summarise`. Buffers are gathered over processes by MONAI's `Cumulative`.

    Of partial labels give `known` (B, K+1) bool as well, the classes that were looked for: the others are NaN, and
    voxels whose label is an index beyond the classes, which nobody labelled, count for none.
    """

    def __init__(self, num_classes: int) -> None:
        """`num_classes` is K, background excluded. Raises ValueError below 1."""
        super().__init__()
        if num_classes < 1:
            raise UserFault(
                f"LabelDice: num_classes counts the foreground classes, must be 1 or more, got {num_classes}."
            )
        self.num_classes = num_classes

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs) -> torch.Tensor:
        if y is None or y_pred.shape != y.shape or y_pred.shape[1] != 1:
            raise UserFault(
                "LabelDice: prediction and label must be index maps of the same shape (B, 1, ...), got "
                f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}; take the arg-max first."
            )
        known = kwargs.get("known")
        looked_for = [None] * len(y) if known is None else known
        return torch.stack(
            [self._dice(p, t, k) for p, t, k in zip(y_pred, y, looked_for, strict=True)]
        )  # (B, K)

    def _dice(
        self, prediction: torch.Tensor, label: torch.Tensor, known: torch.Tensor | None
    ) -> torch.Tensor:
        size = self.num_classes + 1
        indices = [
            torch.as_tensor(t).as_subclass(torch.Tensor).reshape(-1).long() for t in (prediction, label)
        ]
        indices[1] = indices[1].to(indices[0].device)
        if known is not None:
            labelled = indices[1] < size
            indices = [values * labelled for values in indices]
        for name, values in zip(("prediction", "label"), indices, strict=True):
            low, high = (int(v) for v in values.aminmax())
            if low < 0 or high > self.num_classes:
                raise UserFault(f"LabelDice: {name} must hold 0 to {self.num_classes}, got {low} to {high}.")
        joint = (
            torch.bincount(indices[0] * size + indices[1], minlength=size * size).reshape(size, size).double()
        )
        sizes = (joint.sum(0) + joint.sum(1))[1:]
        dice = (2 * joint.diagonal()[1:] / sizes).float()  # 0 / 0, a class in neither, is NaN
        return dice if known is None else dice.masked_fill(~known[1:].to(dice.device), torch.nan)

    def per_class(self) -> torch.Tensor:
        """(K,) mean over cases, NaN for a class that no case held."""
        values = self.get_buffer()
        if values is None:
            raise UserFault("LabelDice: nothing was measured; call it on predictions before aggregate().")
        return values.nanmean(dim=0)

    def aggregate(self) -> torch.Tensor:
        """() mean over classes; NaN when no case held any class."""
        return self.per_class().nanmean()


class LabelDiceHandler(IgniteMetricHandler):
    """`LabelDice` as a metric of MONAI's engines; the details are (cases, K).

    `output_transform` takes the engine's output to (prediction, label), for example
    `monai.handlers.from_engine(["pred", "label"])`; of partial labels to (prediction, label, known).
    """

    def __init__(
        self,
        num_classes: int,
        output_transform: Callable[..., Sequence] = lambda x: x,
        save_details: bool = True,
    ) -> None:
        super().__init__(
            metric_fn=LabelDice(num_classes),
            output_transform=lambda output: _by_case(output_transform(output)),
            save_details=save_details,
        )

    @reinit__is_reduced
    def update(self, output: Sequence) -> None:
        """As the base class's, or of a list of cases (prediction, (label, known classes)), each without batch axis."""
        predictions, labels = output
        if not isinstance(labels, list) or not isinstance(labels[0], tuple):
            super().update(output)
            return
        for prediction, (label, known) in zip(predictions, labels, strict=True):
            self.metric_fn(prediction.unsqueeze(0), label.unsqueeze(0), known=known.unsqueeze(0))


def _by_case(parts: Sequence) -> Sequence:
    """Three parts as the two that ignite's metrics have."""
    if len(parts) == 2:
        return parts
    predictions, labels, known = parts
    return predictions, list(zip(labels, known, strict=True))
