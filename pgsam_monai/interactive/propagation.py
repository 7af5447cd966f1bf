"""From a prompted slice to its neighbours: what was found on one slice is the prompt on the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.answers import SliceEmbeddings, answer
from pgsam_monai.interactive.session import Asked
from pgsam_monai.interactive.volume import Place, SlicedVolume
from pgsam_monai.prompts.boxes import PixelBox, corners, tight_box
from pgsam_monai.prompts.frames import pixels_to_frame
from pgsam_monai.prompts.points import box_points
from pgsam_monai.transforms.fit import on_slices


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """How far it goes and when it stops. No reference has a say in it."""

    slices: int | None = None
    """at most so many on each side of a prompted slice; None for all"""
    masks: bool | None = None
    """a slice's logits go to the next as a mask, beside the box; None: if the network was trained with masks"""
    margin: float = 0.1
    """how far the box lies outside what was found, on each side, as a share of its own side; a pixel at least"""
    least_area: float = 0.1
    """stop where less is found than this share of what the prompted slice holds"""
    least_overlap: float = 0.5
    """stop where what is found has a smaller IoU with what the slice before holds"""
    most_change: float = 1.5
    """stop where its mean intensity lies more than so many standard deviations off what the prompted slice holds:
    beyond a structure's end a box still finds something, but something else"""

    def __post_init__(self) -> None:
        if self.slices is not None and self.slices < 1:
            raise UserFault(f"propagate: slices must be at least 1, got {self.slices}.")
        if min(self.margin, self.most_change) < 0 or not 0 <= min(self.least_area, self.least_overlap) <= 1:
            raise UserFault(
                "propagate: margin and most_change must be 0 or more, least_area and least_overlap 0 to 1, got "
                f"{self.margin}, {self.most_change}, {self.least_area} and {self.least_overlap}."
            )


class _Content(NamedTuple):
    """What a mask holds."""

    area: int
    """pixels"""
    mean: float
    """intensity, over all channels"""
    deviation: float


class _Walker(NamedTuple):
    """One class on its way in one direction."""

    place: Place
    step: int
    """1 or -1"""
    left: int
    """slices that it may still go"""
    logits: Tensor
    mask: np.ndarray
    first: _Content
    """on the prompted slice"""


def spread(
    embeddings: SliceEmbeddings, seeds: Mapping[Place, Tensor], settings: Propagation
) -> dict[Place, Asked]:
    """Answers on slices around prompted ones.

    Each slice between two prompted ones is reached from the nearer. On each further slice the question is the box
    around what the slice before holds, and that slice's logits as a mask. All classes and both directions go on
    together, so that each slice is encoded once.

    Args:
        embeddings: of the volume.
        seeds: logits (h, w) of all prompted slices of the classes that are to spread.
        settings: when to stop.
    """
    volume, found = embeddings.volume, {}
    masks = embeddings.model.trained_with_masks if settings.masks is None else settings.masks
    walkers = _start(volume, seeds, settings)
    while walkers:
        asked = {
            _next(walker): _ask(volume, walker, margin=settings.margin, with_mask=masks) for walker in walkers
        }
        answers = answer(embeddings, {place: one.question for place, one in asked.items()})
        moved = [_move(volume, walker, answers[_next(walker)]) for walker in walkers]
        kept = [
            after
            for before, after in zip(walkers, moved, strict=True)
            if _goes_on(volume, before, after, settings)
        ]
        found |= {
            walker.place: replace(asked[walker.place], logits=walker.logits, propagated=True)
            for walker in kept
        }
        walkers = [walker for walker in kept if walker.left]
    return found


def _start(volume: SlicedVolume, seeds: Mapping[Place, Tensor], settings: Propagation) -> list[_Walker]:
    """Two walkers for each prompted slice, unless it is empty, has no free neighbour or lies at the volume's end."""
    walkers = []
    for place, logits in seeds.items():
        mask = _mask(volume, logits)
        others = sorted(other.slice for other in seeds if other.index == place.index)
        for step in (1, -1):
            left = _way(place.slice, step, others, volume.depth)
            left = left if settings.slices is None else min(left, settings.slices)
            if left and mask.any():
                walkers.append(_Walker(place, step, left, logits, mask, _content(volume, place, mask)))
    return walkers


def _way(index: int, step: int, prompted: Sequence[int], depth: int) -> int:
    """Slices from `index` that are nearer to it than to the next prompted one; from the middle one, going up."""
    ahead = [other for other in prompted if (other - index) * step > 0]
    if not ahead:
        return depth - 1 - index if step > 0 else index
    between = min(abs(other - index) for other in ahead) - 1
    return (between + 1) // 2 if step > 0 else between // 2


def _next(walker: _Walker) -> Place:
    return walker.place._replace(slice=walker.place.slice + walker.step)


def _ask(volume: SlicedVolume, walker: _Walker, *, margin: float, with_mask: bool) -> Asked:
    row0, col0, row1, col1 = tight_box(walker.mask)
    rows = max(1, round(margin * (row1 - row0 + 1)))
    columns = max(1, round(margin * (col1 - col0 + 1)))
    H, W = walker.mask.shape
    box = PixelBox(
        max(row0 - rows, 0), max(col0 - columns, 0), min(row1 + rows, H - 1), min(col1 + columns, W - 1)
    )
    return Asked(
        box=pixels_to_frame(box_points(corners(box)), volume.frame),
        given=walker.logits if with_mask else None,
    )


def _move(volume: SlicedVolume, walker: _Walker, logits: Tensor) -> _Walker:
    return walker._replace(
        place=_next(walker), left=walker.left - 1, logits=logits, mask=_mask(volume, logits)
    )


def _goes_on(volume: SlicedVolume, before: _Walker, after: _Walker, settings: Propagation) -> bool:
    content = _content(volume, after.place, after.mask)
    if content.area == 0 or content.area < settings.least_area * after.first.area:
        return False
    if abs(content.mean - after.first.mean) > settings.most_change * after.first.deviation:
        return False
    shared = np.count_nonzero(before.mask & after.mask)
    return shared >= settings.least_overlap * np.count_nonzero(before.mask | after.mask)


def _content(volume: SlicedVolume, place: Place, mask: np.ndarray) -> _Content:
    inside = volume.image[..., place.slice].float().numpy()[:, mask]
    if not inside.size:
        return _Content(0, 0.0, 0.0)
    return _Content(np.count_nonzero(mask), float(inside.mean()), float(inside.std()))


def _mask(volume: SlicedVolume, logits: Tensor) -> np.ndarray:
    """(H, W) of bool."""
    return (on_slices(logits[None, None], volume.frame)[0, 0] > 0).cpu().numpy()
