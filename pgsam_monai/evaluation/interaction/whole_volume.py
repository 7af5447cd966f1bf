"""How a structure grows right by a few clicks in the whole volume: what users of `Segmenter` and of the server see."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Protocol

import numpy as np

from pgsam_monai.evaluation.interaction.users import Correction, next_correction
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.metrics.surfaces import surface_dice

SEGMENTER = "clicks"
TOLERANCE_MM = 2.0
GOALS = (0.8, 0.9, 0.95)


class Clickable(Protocol):
    """Whoever answers clicks on one structure of one image, such as `SegmenterAnswers` or a server's client."""

    def start_over(self) -> None:
        """Forget all clicks."""

    def click(self, click: Correction) -> None:
        """Say that the structure is, or isn't, at a voxel."""

    def mask(self) -> np.ndarray:
        """Where the structure is shown: (i, j, k) of bool."""


@dataclass(frozen=True, kw_only=True)
class ClickedStructure:
    """One structure of one case, click by click."""

    case: str
    label: str
    answers: str
    """who answered"""
    dice: tuple[float, ...]
    """before the first click and after each; who sees no error clicks no more, and the last number is repeated"""
    seconds: tuple[float, ...]
    """wall time of each answer"""
    obeyed: int
    """of all clicks, those that the last answer obeys"""
    clicks: int
    nsd: Mapping[int, float] = field(default_factory=dict)
    """after so many clicks -> normalised surface Dice, where it was asked for"""

    @property
    def area(self) -> float:
        """Mean of Dice over the numbers of clicks (AUC, by trapezoids, over their range)."""
        steps = np.array(self.dice)
        return float((steps[1:] + steps[:-1]).mean() / 2)

    def needed(self, goal: float) -> int | None:
        """Clicks until a Dice is reached, 0 where it is there before the first; None if it never is."""
        return next((number for number, dice in enumerate(self.dice) if dice >= goal), None)


def click_structure(
    clickable: Clickable,
    target: np.ndarray,
    spacing: Sequence[float],
    *,
    clicks: int,
    case: str,
    label: str,
    answers: str = SEGMENTER,
    nsd_after: Collection[int] = (),
    tolerance_mm: float = TOLERANCE_MM,
) -> ClickedStructure:
    """Correct one structure, each click in the middle of the largest error that is left (`users.next_correction`).

    Args:
        clickable: asked anew from the start.
        target: (i, j, k) of bool, where the structure is.
        spacing: mm along i, j, k.
        clicks: at most so many.
        case, label, answers: what they are called.
        nsd_after: numbers of clicks after which the surface is measured too, which takes longer than Dice.
        tolerance_mm: of the normalised surface Dice.
    """
    clickable.start_over()
    found, given, dice, nsd, seconds = clickable.mask(), [], [], {}, []

    def score(number: int) -> None:
        dice.append(dice_of(found, target))
        if number in nsd_after:
            nsd[number] = surface_dice(found, target, spacing, tolerance_mm)

    score(0)
    for number in range(1, clicks + 1):
        click = next_correction(found, target, spacing, [each.voxel for each in given])
        if click is not None:
            given.append(click)
            begun = time.perf_counter()
            clickable.click(click)
            found = clickable.mask()
            seconds.append(time.perf_counter() - begun)
        score(number)
    obeyed = sum(bool(found[click.voxel]) == click.positive for click in given)
    return ClickedStructure(
        case=case, label=label, answers=answers, dice=tuple(dice), seconds=tuple(seconds), obeyed=obeyed,
        clicks=len(given), nsd=nsd,
    )  # fmt: skip


class SegmenterAnswers:
    """A segmenter with an image, asked about one of its classes."""

    def __init__(self, segmenter: Segmenter, label: str) -> None:
        self._segmenter, self._label = segmenter, label

    def start_over(self) -> None:
        self._segmenter.start_over()

    def click(self, click: Correction) -> None:
        self._segmenter.add_click(click.voxel, self._label, positive=click.positive)

    def mask(self) -> np.ndarray:
        return self._segmenter.mask(self._label)


class BrushAnswers:
    """What clicks are compared with: each paints a ball as large as the error allows, which no real user knows."""

    def __init__(self, shown: np.ndarray, spacing: Sequence[float]) -> None:
        """`shown`: (i, j, k) of bool, before the first click; `spacing`: mm along i, j, k."""
        self._shown, self._spacing, self._mask = shown, spacing, shown.copy()

    def start_over(self) -> None:
        self._mask = self._shown.copy()

    def click(self, click: Correction) -> None:
        axes = np.ogrid[tuple(slice(0, size) for size in self._mask.shape)]
        mm = sum(
            ((axis - at) * step) ** 2 for axis, at, step in zip(axes, click.voxel, self._spacing, strict=True)
        )
        self._mask[mm < click.depth**2] = click.positive

    def mask(self) -> np.ndarray:
        return self._mask


def dice_of(found: np.ndarray, target: np.ndarray) -> float:
    """Dice of two masks of bool, the second of them not empty."""
    return 2 * np.count_nonzero(found & target) / (np.count_nonzero(found) + np.count_nonzero(target))


def mean_of(structures: Sequence[ClickedStructure], value: Callable[[ClickedStructure], float]) -> float:
    """The mean over classes of each class's mean over cases."""
    return mean(
        mean(value(one) for one in structures if one.label == label) for label in labels_of(structures)
    )


def labels_of(structures: Sequence[ClickedStructure]) -> list[str]:
    """The classes, in the order in which they came."""
    return list(dict.fromkeys(one.label for one in structures))
