"""One image, all that was said about it and what became of it, and the label map that follows."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pgsam_monai.interactive.answers import (
    SliceEmbeddings,
    SlicePrompt,
    answer,
    compete,
    shown_without_prompts,
)
from pgsam_monai.interactive.corrections import Change, Corrector, mask_logits
from pgsam_monai.interactive.reach import Click
from pgsam_monai.interactive.volume import DrawnLabelMap, Place
from pgsam_monai.prompts.points import PointList, point_list

EVERYTHING = "everything"
"""What is shown where nobody asked: what the network finds without prompts."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Prompts in the network's square, and the network's answer to them."""

    clicks: PointList = point_list()
    box: PointList = point_list()
    """two corners, or none"""
    given: Tensor | None = None
    """(h, w) logits of a mask that the user gave"""
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
    def opening(self) -> SlicePrompt | None:
        """What is asked where clicks correct the answer: box and mask alone, if there are any."""
        if self.given is None and not len(self.box.labels):
            return None
        return SlicePrompt(points=self.box, mask=self.given)

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


class _State(NamedTuple):
    """All that was said, and what it changed: what a step goes back to."""

    asked: dict[Place, Asked]
    clicks: tuple[Click, ...]
    """that correct, in their order"""
    changes: tuple[Change, ...]
    """by these, in their order"""
    warnings: tuple[Click, ...]
    """what negative clicks mean on the slices beside theirs"""


NOTHING_SAID = _State({}, (), (), ())


class Session:
    """Prompts by class and slice, and what clicks changed; a step changes some of them, and draws their slices anew."""

    def __init__(
        self, embeddings: SliceEmbeddings, *, under: np.ndarray | str | None, corrector: Corrector | None
    ) -> None:
        """
        Args:
            embeddings: of the image about which it is asked, by the network that answers.
            under: what is shown where nothing was said: class indices (H, W, D), `EVERYTHING` for what the network
                finds without prompts, None for background.
            corrector: asked by clicks, which correct what is shown; None: clicks are prompts like boxes.
        """
        self.embeddings, self.volume, self.corrector = embeddings, embeddings.volume, corrector
        self.drawn = DrawnLabelMap(self.volume, embeddings.model.values)
        self.said = NOTHING_SAID
        self._history: list[_State] = []
        self._undone: list[_State] = []
        self._under = self._first_under = under
        self._found: dict[
            int, np.ndarray
        ] = {}  # by slice, what the network finds without prompts: it never changes
        self._unfilled = set() if under is None else set(range(self.volume.depth))

    @property
    def asked(self) -> dict[Place, Asked]:
        """All prompts, by class and slice."""
        return self.said.asked

    def about(self, place: Place) -> Asked:
        """What was said about a class on a slice so far."""
        return self.asked.get(place) or Asked()

    def ask(self, changes: Mapping[Place, Asked], clicks: Sequence[Click] = ()) -> None:
        """A step with prompts to be answered. Whatever goes wrong with the answers, nothing has changed then.

        Args:
            changes: of these places.
            clicks: that correct, in the order in which they were given.
        """
        questions = {at: one.opening if self.corrector else one.question for at, one in changes.items()}
        questions = {at: one for at, one in questions.items() if one is not None}
        answers = answer(self.embeddings, questions)
        answered = {at: replace(one, logits=answers.get(at)) for at, one in changes.items()}
        before = self.said
        self._show(before._replace(asked=before.asked | answered))
        try:
            for click in clicks:
                self._correct(click)
        except BaseException:
            self._show(before)
            raise
        self._remember(before)

    def change(self, changes: Mapping[Place, Asked | None]) -> None:
        """A step with what has its answers already; None takes prompts away."""
        self._remember(self.said)
        asked = {place: one for place, one in (self.asked | changes).items() if one is not None}
        self._show(self.said._replace(asked=asked))

    def forget(self, indices: Container[int]) -> None:
        """A step: all that was said about classes is gone."""
        self._remember(self.said)
        self._show(
            _State(
                asked={place: one for place, one in self.asked.items() if place.index not in indices},
                clicks=tuple(click for click in self.said.clicks if click.index not in indices),
                changes=tuple(change for change in self.said.changes if change.index not in indices),
                warnings=tuple(click for click in self.said.warnings if click.index not in indices),
            )
        )

    def undo(self) -> None:
        """Take the latest step back. Raises RuntimeError if there is none."""
        if not self._history:
            raise RuntimeError("Segmenter: nothing is left to undo.")
        self._undone.append(self.said)
        self._show(self._history.pop())

    def redo(self) -> None:
        """Take the latest `undo` back. Raises RuntimeError if there is none, or another step came after it."""
        if not self._undone:
            raise RuntimeError("Segmenter: nothing was undone that could be done again.")
        self._history.append(self.said)
        self._show(self._undone.pop())

    def start_over(self, shown: np.ndarray | None = None) -> None:
        """Take all prompts away; no step is left to undo.

        Args:
            shown: class indices (H, W, D) to be shown in place of `under` until the next start; None: `under` again.
        """
        under = self._first_under if shown is None else shown
        if under is not self._under:
            self._under = under
            self._unfilled = set(range(self.volume.depth))
        self._show(NOTHING_SAID)
        self._history.clear()
        self._undone.clear()

    def _remember(self, before: _State) -> None:
        """A step was made: it goes back to this, and what was undone before it is gone."""
        self._history.append(before)
        self._undone.clear()

    def fill(self) -> None:
        """Draw the slices that nobody asked about, if they show anything."""
        self._draw(sorted(self._unfilled))

    def logits_of(self, place: Place) -> Tensor:
        """An answer (h, w); where clicks correct answers, that of a mask of what is shown."""
        answered = self.about(place).logits
        if answered is not None and self.corrector is None:
            return answered
        shown, frame = self.drawn.indices[..., place.slice] == place.index, self.volume.frame
        return mask_logits(shown, frame, (frame.image_size, frame.image_size))

    def _correct(self, click: Click) -> None:
        """One click changes what is shown."""
        self.fill()
        brought = () if click.positive else self._brought_at(click)
        if brought:
            self._ask_again(brought, click)
        clicks = (*self.said.clicks, click)
        changes = self.corrector.correct(self.drawn.indices, click, (*self.said.warnings, *clicks))
        self._show(self.said._replace(clicks=clicks, changes=(*self.said.changes, *changes)))

    def _brought_at(self, click: Click) -> tuple[Change, ...]:
        """What the last click on a class brought, if it was a positive one and what is shown at this click is its.

        Who goes on to correct means the error, no longer the answer: only the very next click asks anew.
        """
        own = [each for each in self.said.clicks if each.index == click.index]
        if not own or not self.corrector.is_open(self.drawn.indices, click):
            return ()
        brought = tuple(
            change for change in self.said.changes if change.source is own[-1] and change.positive
        )
        covers = any(change.slice == click.slice and change.region[click.pixel] for change in brought)
        return brought if covers else ()

    def _ask_again(self, brought: Sequence[Change], click: Click) -> None:
        """What a positive click brings, now that a negative one is known; what other clicks changed stays."""
        source, before = brought[0].source, self.said
        warnings = (*before.warnings, *self.corrector.warnings(self.drawn.indices, click, brought))
        others = tuple(change for change in before.changes if change.source is not source)
        without = tuple(each for each in before.clicks if each is not source)
        self._show(before._replace(clicks=without, changes=others))
        again = self.corrector.correct(self.drawn.indices, source, (*warnings, *before.clicks, click))
        self._show(before._replace(changes=(*others, *again), warnings=warnings))

    def _show(self, said: _State) -> None:
        """Go on from another state; slices about which both say the same stay as they are drawn."""
        before, self.said = self.said, said
        places = {
            place
            for place in before.asked.keys() | said.asked.keys()
            if before.asked.get(place) is not said.asked.get(place)
        }
        slices = {place.slice for place in places}
        slices |= _slices_that_differ(before.clicks, said.clicks)
        slices |= _slices_that_differ(before.changes, said.changes)
        self._draw(sorted(slices))

    def _draw(self, slices: Sequence[int]) -> None:
        count = max(1, self.embeddings.model.batch_size)
        for part in (slices[start : start + count] for start in range(0, len(slices), count)):
            for at, under in zip(part, self._shown_under(part), strict=True):
                answers = {
                    place.index: one.logits
                    for place, one in self.asked.items()
                    if place.slice == at and one.logits is not None
                }
                indices = compete(answers, self.volume.frame, under)
                self._correct_drawn(at, indices)
                self.drawn.draw(at, indices)
        self._unfilled.difference_update(slices)

    def _shown_under(self, slices: Sequence[int]) -> Sequence[np.ndarray | None]:
        """Class indices (H, W) of slices as they are without anything said; None for background."""
        if self._under is None:
            return [None] * len(slices)
        if isinstance(self._under, np.ndarray):
            return [self._under[..., at] for at in slices]
        new = [at for at in slices if at not in self._found]
        if new:
            kind = self.drawn.indices.dtype
            self._found |= dict(
                zip(new, shown_without_prompts(self.embeddings, new).astype(kind), strict=True)
            )
        return [self._found[at] for at in slices]

    def _correct_drawn(self, at: int, indices: np.ndarray) -> None:
        """Draw what clicks changed on a slice; whatever came after, a clicked pixel shows what was said."""
        for change in self.said.changes:
            if change.slice == at:
                change.draw(indices)
        for click in self.said.clicks:
            if click.slice == at:
                if click.positive:
                    indices[click.pixel] = click.index
                elif indices[click.pixel] == click.index:
                    indices[click.pixel] = 0


def _slices_that_differ(before: Sequence[Click | Change], after: Sequence[Click | Change]) -> set[int]:
    """Of what one sequence has and the other hasn't."""
    known, new = set(map(id, before)), set(map(id, after))
    return {one.slice for one in (*before, *after) if id(one) not in known & new}
