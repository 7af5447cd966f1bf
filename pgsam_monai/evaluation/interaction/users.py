"""Simulated users: each sees the reference of one class on one slice, and prompts as a person would."""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from torch import Tensor

from pgsam_monai.interactive.answers import SlicePrompt
from pgsam_monai.interactive.volume import Place, SlicedVolume
from pgsam_monai.prompts.clicks import next_click, protocol_prompts
from pgsam_monai.prompts.frames import pixels_to_frame
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE, PointList, point_list

AT_ONCE: dict[str, tuple[str, int]] = {
    "3 points": ("3 points", 0),
    "3 points with 1 wrong": ("3 points", 1),
    "3 points with 2 wrong": ("3 points", 2),
    "box 0.5": ("box 0.5", 0),
    "box 0.75": ("box 0.75", 0),
    "box": ("box", 0),
}
"""Prompts that are given once: what results call them -> kind of `prompts.clicks.PROTOCOLS`, and wrong points."""


def draw(case: str, place: Place, seed: int, what: str) -> np.random.Generator:
    """A generator of its own for every prompt, so that no result depends on what else is measured."""
    return np.random.default_rng([seed, crc32(case.encode()), place.slice, place.index, crc32(what.encode())])


def ask_at_once(volume: SlicedVolume, target: np.ndarray, what: str, rng: np.random.Generator) -> SlicePrompt:
    """One of `AT_ONCE` for a mask (H, W) of bool on a slice of the volume."""
    kind, wrong = AT_ONCE[what]
    return SlicePrompt(points=pixels_to_frame(protocol_prompts(target, kind, rng, wrong=wrong), volume.frame))


@dataclass(kw_only=True)
class ClickingUser:
    """Clicks at random into the class first, then again and again into the largest error of the latest answer.

    With `feedback` the latest answer goes in with a further click. Who sees no error left clicks no more.
    """

    volume: SlicedVolume
    target: np.ndarray
    """(H, W) of bool, not empty"""
    feedback: bool
    satisfied: bool = False
    found: np.ndarray | None = None
    """(H, W) of bool, the latest answer"""
    _pixels: PointList = field(default_factory=point_list)
    _logits: Tensor | None = None

    def click(self, rng: np.random.Generator) -> SlicePrompt | None:
        """What to ask next; None if there is no error left."""
        if self.found is None:
            self._pixels = protocol_prompts(self.target, "1 point", rng)
        elif not self.satisfied:
            clicked = [(round(y), round(x)) for x, y in self._pixels.points.tolist()]
            further = next_click(self.found, self.target, clicked=clicked)
            self.satisfied = further is None
            if further is not None:
                self._add(further.column, further.row, positive=further.positive)
        if self.satisfied:
            return None
        mask = self._logits if self.feedback else None
        return SlicePrompt(points=pixels_to_frame(self._pixels, self.volume.frame), mask=mask)

    def see(self, logits: Tensor, found: np.ndarray) -> None:
        """The answer: logits (h, w) of the square, and the mask (H, W) on the slice."""
        self._logits, self.found = logits, found

    @property
    def obeyed(self) -> tuple[int, int]:
        """How many of the clicks so far the latest answer obeys, and how many there are."""
        held = [
            bool(self.found[round(y), round(x)]) == (kind == POSITIVE)
            for (x, y), kind in zip(self._pixels.points.tolist(), self._pixels.labels.tolist(), strict=True)
        ]
        return sum(held), len(held)

    def _add(self, x: int, y: int, *, positive: bool) -> None:
        points = [*self._pixels.points.tolist(), (x, y)]
        self._pixels = point_list(points, [*self._pixels.labels, POSITIVE if positive else NEGATIVE])
