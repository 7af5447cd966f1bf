"""One image, all that was said about it and what became of it, and the label map that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pgsam_monai.interactive.answers import (
    SliceEmbeddings,
    SlicePrompt,
    against_others,
    answer,
    ask_everything,
    compete,
)
from pgsam_monai.interactive.corrections import pull
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.volume import DrawnLabelMap, Place, SlicedVolume
from pgsam_monai.prompts.points import POSITIVE, PointList, point_list
from pgsam_monai.transforms.fit import enlarge, fit_image, resize
from pgsam_monai.voxels.frame import SliceFrame

MASK_LOGIT = 10.0
"""Logit inside a mask that the user gives, and minus the one outside: about what SAM's own sure answers have."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Prompts in the network's square, and the network's answer to them."""

    clicks: PointList = point_list()
    box: PointList = point_list()
    """two corners, or none"""
    given: Tensor | None = None
    """(h, w) logits of a mask that the user gave"""
    base: Tensor | None = None
    """(h, w) the answer that clicks correct (`interactive.corrections`), if they do"""
    shown: bool = False
    """the base is what the network finds by itself"""
    before: Tensor | None = None
    """(h, w) the answer before the latest click, which goes in with the points"""
    logits: Tensor | None = None
    """(h, w), or as large as the square, the latest answer"""
    propagated: bool = False
    """not asked by the user, but on the way from a slice that was"""

    @property
    def question(self) -> SlicePrompt:
        points = np.concatenate([self.clicks.points, self.box.points])
        kinds = np.concatenate([self.clicks.labels, self.box.labels])
        return SlicePrompt(
            points=PointList(points, kinds), mask=self.given if self.before is None else self.before
        )

    @property
    def only_clicked(self) -> bool:
        """Whether the user gave neither box nor mask."""
        return self.given is None and not len(self.box.labels)

    @property
    def opening(self) -> SlicePrompt:
        """What is asked where clicks correct the answer: box and mask or, without, the first positive click."""
        if not self.only_clicked:
            return SlicePrompt(points=self.box, mask=self.given)
        first = np.flatnonzero(self.clicks.labels == POSITIVE)[:1]
        first = first if len(first) else slice(0, 1)
        return SlicePrompt(points=PointList(self.clicks.points[first], self.clicks.labels[first]))

    def opens_as(self, other: Asked) -> bool:
        """Whether both ask the same first."""
        own, others = self.opening, other.opening
        same = np.array_equal(own.points.points, others.points.points)
        return same and np.array_equal(own.points.labels, others.points.labels) and own.mask is others.mask

    def with_clicks(self, more: PointList, *, feedback: bool) -> Asked:
        """Further clicks; with `feedback` the latest answer goes in as a mask, as in SAM."""
        points = np.concatenate([self.clicks.points, more.points])
        kinds = np.concatenate([self.clicks.labels, more.labels])
        return replace(
            self, clicks=PointList(points, kinds), before=self.logits if feedback else None, propagated=False
        )

    def with_box(self, box: PointList) -> Asked:
        """Another box. The latest answer, perhaps to a wrong box, doesn't go in."""
        return replace(self, box=box, before=None, propagated=False)

    def with_mask(self, logits: Tensor) -> Asked:
        """Another mask."""
        return replace(self, given=logits, before=None, propagated=False)


class Session:
    """Prompts by class and slice; a step changes some of them, and draws their slices anew."""

    def __init__(
        self,
        model: PromptModel,
        volume: SlicedVolume,
        *,
        show_everything: bool,
        corrects: bool,
        memory_gb: float,
    ) -> None:
        """
        Args:
            model: which answers.
            volume: about which it is asked.
            show_everything: what was not asked about shows what the network finds without prompts.
            corrects: clicks move the first answer of their place, see `interactive.corrections`; else the network is
                asked anew.
            memory_gb: for embeddings.
        """
        self.volume = volume
        self.embeddings = SliceEmbeddings(model, volume, memory_gb=memory_gb)
        self.drawn = DrawnLabelMap(volume, model.values)
        self.asked: dict[Place, Asked] = {}
        self._history: list[dict[Place, Asked | None]] = []  # for each step, what it replaced
        self._unfilled = set(range(volume.depth)) if show_everything else set()
        self._show_everything, self._corrects = show_everything, corrects

    def about(self, place: Place) -> Asked:
        """What was said about a class on a slice so far."""
        return self.asked.get(place) or Asked()

    def ask(self, changes: Mapping[Place, Asked]) -> None:
        """A step with prompts to be answered. Whatever goes wrong with the answers, nothing has changed then."""
        if self._corrects:
            self.change(self._corrected(changes))
            return
        answers = answer(self.embeddings, {place: one.question for place, one in changes.items()})
        self.change({place: replace(one, logits=answers[place]) for place, one in changes.items()})

    def change(self, changes: Mapping[Place, Asked | None]) -> None:
        """A step with what has its answers already; None takes prompts away."""
        self._history.append({place: self.asked.get(place) for place in changes})
        self._show(changes)

    def undo(self) -> None:
        """Take the latest step back. Raises RuntimeError if there is none."""
        if not self._history:
            raise RuntimeError("Segmenter: nothing is left to undo.")
        self._show(self._history.pop())

    def start_over(self) -> None:
        """Take all prompts away; no step is left to undo."""
        self._show(dict.fromkeys(self.asked))
        self._history.clear()

    def fill(self) -> None:
        """Draw the slices that nobody asked about, if they show anything."""
        self._draw(sorted(self._unfilled))

    def _corrected(self, changes: Mapping[Place, Asked]) -> dict[Place, Asked]:
        """What the network shows by itself, or its answers to what was asked first, moved by the clicks."""
        shown = {place for place, one in changes.items() if self._show_everything and one.only_clicked}
        bases = {
            place: known.base
            for place, one in changes.items()
            if (known := self.asked.get(place)) is not None
            and known.shown == (place in shown)
            and (known.shown or (known.base is not None and one.opens_as(known)))
        }
        bases |= self._shown_at(sorted(shown - bases.keys()))
        bases |= answer(self.embeddings, {at: one.opening for at, one in changes.items() if at not in bases})
        return {
            place: replace(self._moved(one, bases[place]), shown=place in shown)
            for place, one in changes.items()
        }

    def _shown_at(self, places: Sequence[Place]) -> dict[Place, Tensor]:
        """What the network finds by itself of classes on slices: logits (h, w)."""
        slices, found = sorted({place.slice for place in places}), {}
        count = max(1, self.embeddings.model.batch_size)
        for part in (slices[start : start + count] for start in range(0, len(slices), count)):
            found |= dict(zip(part, map(against_others, ask_everything(self.embeddings, part)), strict=True))
        return {place: found[place.slice][place.index - 1] for place in places}

    def _moved(self, one: Asked, base: Tensor) -> Asked:
        frame = self.volume.frame
        square = enlarge(base[None, None], (frame.image_size, frame.image_size))[0, 0]
        return replace(one, base=base, logits=pull(square, one.clicks, frame))

    def _show(self, changes: Mapping[Place, Asked | None]) -> None:
        for place, one in changes.items():
            self.asked.pop(place, None)
            if one is not None:
                self.asked[place] = one
        self._draw(sorted({place.slice for place in changes}))

    def _draw(self, slices: Sequence[int]) -> None:
        count = max(1, self.embeddings.model.batch_size)
        for part in (slices[start : start + count] for start in range(0, len(slices), count)):
            everything = (
                ask_everything(self.embeddings, part) if self._show_everything else [None] * len(part)
            )
            for at, shown in zip(part, everything, strict=True):
                here = {place.index: one for place, one in self.asked.items() if place.slice == at}
                answers = {index: one.logits for index, one in here.items()}
                corrected = {index: one.base for index, one in here.items() if one.shown}
                self.drawn.draw(at, compete(answers, self.volume.frame, shown, corrected))
        self._unfilled.difference_update(slices)


def mask_logits(mask: np.ndarray, frame: SliceFrame, size: tuple[int, int]) -> Tensor:
    """A mask (H, W) of bool on a slice -> logits (h, w) of `size` on the network's square."""
    square = fit_image(torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None], frame)
    share = resize(square, size)[0, 0]
    return MASK_LOGIT * (2 * share - 1)
