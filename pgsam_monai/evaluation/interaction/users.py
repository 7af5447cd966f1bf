"""Simulated users: each sees the reference of one class on one slice, and prompts as a person would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

import numpy as np
from scipy import ndimage
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


class Correction(NamedTuple):
    """A click of a user who looks at a whole volume."""

    voxel: tuple[int, int, int]
    """(i, j, k)"""
    positive: bool
    depth: float
    """mm from it to the nearest voxel that isn't wrong in the same way"""


def next_correction(
    found: np.ndarray, target: np.ndarray, spacing: Sequence[float], clicked: Sequence[Sequence[int]] = ()
) -> Correction | None:
    """A click in the middle of the largest error of a volume: all that the user knows of the reference is this region.

    Args:
        found, target: (i, j, k) of bool.
        spacing: mm along i, j, k.
        clicked: voxels of earlier clicks, which aren't clicked again while there are others.

    Returns:
        None where both are equal. Of a region that is missed and one that is too much, equally large, the missed one.
    """
    errors = [
        (positive, _largest_part(wrong))
        for positive, wrong in ((True, target & ~found), (False, found & ~target))
    ]
    sizes = [np.count_nonzero(part) for _, (part, _) in errors]
    if not any(sizes):
        return None
    positive, (part, corner) = errors[0] if sizes[0] >= sizes[1] else errors[1]
    left = part.copy()
    for voxel in clicked:
        place = np.asarray(voxel) - corner
        if (place >= 0).all() and (place < left.shape).all():
            left[tuple(place)] = False
    left = left if left.any() else part
    depth = ndimage.distance_transform_edt(np.pad(left, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    place = np.unravel_index(depth.argmax(), depth.shape)
    return Correction(tuple((np.asarray(place) + corner).tolist()), positive, float(depth[place]))


def _largest_part(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest connected part of a mask (i, j, k) of bool, cut out, and its corner; nothing of an empty one."""
    if not mask.any():
        return mask[:0, :0, :0], np.zeros(3, dtype=int)
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    parts, count = ndimage.label(mask[box])
    largest = np.bincount(parts.ravel(), minlength=count + 1)[1:].argmax() + 1
    inner = ndimage.find_objects(parts)[largest - 1]
    corner = [outer.start + own.start for outer, own in zip(box, inner, strict=True)]
    return parts[inner] == largest, np.array(corner)
