"""Answers clicks and boxes on images, of which the latest stay open so that further clicks are quick."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.files import time_and_size
from pgsam_monai.interactive.chosen_way import chosen_way
from pgsam_monai.interactive.model import prompt_model
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.label.tasks.click_order import ClickOrder, Signs, sign
from pgsam_monai.label.tasks.inference_request import BACKGROUND, EVERYTHING, ClickRequest
from pgsam_monai.prompts.frames import Placed
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.transforms.read import reading
from pgsam_monai.voxels.result import LabelResult

if TYPE_CHECKING:
    from pgsam_monai.bundle import Bundle

KEPT = 3
"""so many images stay open; one that two clients click on counts twice"""

Voxels = list[list[float]]
Prompts = Mapping[str, Sequence[Placed]]
"""What was said, by class name, as `prompts.frames.place_prompts` gives it."""


class OpenImages:
    """Answers requests one after the other. Each is complete in itself: what it doesn't say again is forgotten.

    Clicks correct in the order in which they came: a request that says what the client's last one said, and more, adds
    that; one that says less goes back. An image that isn't open any more, or another class in between, is no loss where
    the order is kept.
    """

    def __init__(self, served: Bundle, engine: str = TORCH, order: ClickOrder | None = None) -> None:
        """
        Args:
            served: which answers.
            engine: encodes slices, see `interactive.model.prompt_model`.
            order: of the clicks that were given before; None: what is said at once counts class by class.
        """
        self._served, self._engine, self._order = served, engine, order
        self._open: OrderedDict[tuple, _OpenImage] = OrderedDict()

    def answer(self, image: Paths, asked: ClickRequest) -> tuple[LabelResult, dict[str, dict[str, Voxels]]]:
        """The label map, and per class the voxels (i, j, k) that the network was asked about.

        A background click counts for the class that is shown there, and for the classes with a click or a box on its
        slice.

        Args:
            image: as `images.find_image` gives it.
            asked: with clicks.

        Raises:
            UserFault: a click outside the image, or two boxes on one slice.
            ReadError: an unreadable file.
            WeightsFault: see `Bundle.network`.
        """
        with self._served.lock:
            opened = self._opened(image, asked.background, asked.client)
            segmenter = opened.segmenter
            served, placed = self._served, segmenter.volume.place(asked.clicks)
            session = (served.name, asked.label, asked.background, asked.client, state_of(image))
            order = self._order.known(session) if self._order else ()
            opened.say(placed, asked.propagate, only=asked.label, order=order)
            if self._order:
                self._order.keep(session, [said.signs for said in opened.said])
            result = LabelResult(
                voxels=opened.shown_now(),
                affine=segmenter.volume.grid.affine,
                source=segmenter.volume.source,
                names=served.names,
                values=served.values,
            )
            used = clicks_used(opened.heard())
        return result if asked.label is None else result.only(asked.label), used

    def _opened(self, image: Paths, background: str, client: str | None) -> _OpenImage:
        served, weights = self._served, self._weights()
        for key in [key for key in self._open if key[0] != weights]:
            del self._open[key]
        key = (weights, background, client, state_of(image))
        if key not in self._open:
            segmenter = self._segmenter(background)
            with reading():
                segmenter.set_image(image)
            while len(self._open) >= KEPT:
                self._open.popitem(last=False)
            found = segmenter.prediction if background == EVERYTHING else None
            shown = None if found is None else served.clean(found)
            self._open[key] = _OpenImage(segmenter=segmenter, found=found, shown=shown)
        self._open.move_to_end(key)
        return self._open[key]

    def _weights(self) -> Hashable:
        """What answers now, and how; images that others have answered about are closed."""
        served = self._served
        encoder = prompt_model(served, self._engine).encoder if served.capabilities.prompts else None
        return served.stamp, encoder, chosen_way(served)

    def _segmenter(self, background: str) -> Segmenter:
        """For another image."""
        return Segmenter.of(self._served, engine=self._engine, background=background)


@dataclass(kw_only=True)
class _OpenImage:
    """An image, what is shown of it without clicks, label maps (i, j, k), and what was said so far."""

    segmenter: Segmenter
    found: np.ndarray | None
    """by the network; None where nothing is shown"""
    shown: np.ndarray | None
    """after the bundle's postprocessing, as automatic segmentation shows it"""
    said: list[_Said] = field(default_factory=list)
    """what requests said, each the one before and more"""
    propagated: bool = False
    """whether the latest step carried them on"""

    def say(
        self, placed: Prompts, propagate: bool | int, *, only: str | None, order: Sequence[Signs] = ()
    ) -> None:
        """Come from what was said to what is.

        Args:
            placed: negative clicks are `BACKGROUND`'s.
            propagate: as of `ClickRequest`.
            only: see `share_negatives`.
            order: what requests said earlier, of which this one may say some again.
        """
        if self.propagated:
            self.segmenter.undo()
            self.propagated = False
        while self.said and not self.said[-1].keys <= _keys(placed):
            for _ in range(len(self.said.pop().steps)):
                self.segmenter.undo()
        self._add_in_order(placed, only, order)
        if propagate:
            self.segmenter.propagate(slices=None if propagate is True else propagate)
            self.propagated = True

    def _add_in_order(self, placed: Prompts, only: str | None, order: Sequence[Signs]) -> None:
        """What was said request by request is added so again, as far as this one says it all."""
        now, signs = self.said[-1].signs if self.said else frozenset(), _signs(_keys(placed))
        for earlier in order:
            if now < earlier < signs:
                part = {
                    name: [one for one in prompts if sign(_key(name, one)) in earlier]
                    for name, prompts in placed.items()
                }
                self._add({name: prompts for name, prompts in part.items() if prompts}, only)
        self._add(placed, only)

    def _add(self, placed: Prompts, only: str | None) -> None:
        """What is new: first that something is there, then that something isn't, of what is shown by then."""
        known, steps = self.said[-1].keys if self.said else frozenset(), []
        if known == _keys(placed):
            return
        new = {
            name: [one for one in prompts if _key(name, one) not in known] for name, prompts in placed.items()
        }
        negative = new.pop(BACKGROUND, [])
        try:
            if any(new.values()):
                self.segmenter.add_placed(new)
                steps.append(new)
            asked = {name: prompts for name, prompts in placed.items() if name != BACKGROUND}
            shared = share_negatives({**asked, BACKGROUND: negative}, self._class_at(), only=only)
            taken = {name: prompts[len(asked.get(name, ())) :] for name, prompts in shared.items()}
            if any(taken.values()):
                self.segmenter.add_placed(taken)
                steps.append(taken)
        except BaseException:
            for _ in steps:
                self.segmenter.undo()
            raise
        self.said.append(_Said(_keys(placed), tuple(steps)))

    def heard(self) -> Prompts:
        """All that counts, by class, background clicks among those of the classes that they count for."""
        together: dict[str, list[Placed]] = {}
        for step in (step for said in self.said for step in said.steps):
            for name, prompts in step.items():
                together.setdefault(name, []).extend(prompts)
        return together

    def shown_now(self) -> np.ndarray:
        """What is shown, with what prompts changed; a part that postprocessing took away is back where one says so."""
        prediction = self.segmenter.prediction
        if self.found is None:
            return prediction
        result = np.where(prediction != self.found, prediction, self.shown)
        for name, prompts in self.heard().items():
            value = self.segmenter.model.labels[name]
            for click in (one for one in prompts if one.positive):
                voxel = _voxel_of(click.voxel, result.shape)
                if prediction[voxel] == value != result[voxel]:
                    parts, _ = ndimage.label(prediction == value)
                    result[parts == parts[voxel]] = value
        return result

    def _class_at(self) -> Callable[[Sequence[float]], str | None]:
        """Which class is shown at (i, j, k), if any."""
        shown = self.segmenter.prediction
        names = {value: name for name, value in self.segmenter.model.labels.items()}
        return lambda voxel: names.get(int(shown[_voxel_of(voxel, shown.shape)]))


class _Said(NamedTuple):
    """What one request said."""

    keys: frozenset[tuple]
    """of all its prompts, see `_key`"""
    steps: tuple[Prompts, ...]
    """of the segmenter, that came with it"""

    @property
    def signs(self) -> Signs:
        """What `ClickOrder` keeps of it."""
        return _signs(self.keys)


def _key(name: str, one: Placed) -> tuple:
    """What one prompt says."""
    return name, one.slice, tuple(one.points.labels.tolist()), one.points.points.tobytes()


def _keys(placed: Prompts) -> frozenset[tuple]:
    return frozenset(_key(name, one) for name, prompts in placed.items() for one in prompts)


def _signs(keys: Iterable[tuple]) -> Signs:
    return frozenset(map(sign, keys))


def _voxel_of(place: Sequence[float], shape: Sequence[int]) -> tuple[int, ...]:
    """The voxel that a place lies in, or the nearest one."""
    return tuple(np.clip(np.rint(place).astype(int), 0, np.array(shape) - 1).tolist())


def share_negatives(
    placed: Prompts, shown: Callable[[Sequence[float]], str | None], *, only: str | None = None
) -> Prompts:
    """Each class with the negative clicks that count for it.

    Clients send one list of negative clicks for all classes; a class elsewhere is not meant by them.

    Args:
        placed: `BACKGROUND` has the negative clicks.
        shown: voxel (i, j, k) -> the class that is shown there, if any.
        only: of the classes without prompts, this one alone counts; None: all.
    """
    said = {name: list(prompts) for name, prompts in placed.items() if name != BACKGROUND}
    slices = {name: {one.slice for one in prompts} for name, prompts in said.items()}
    for click in placed.get(BACKGROUND, ()):
        corrected = shown(click.voxel)
        corrected = corrected if only in (None, corrected) else None
        takers = [name for name, own in slices.items() if click.slice in own and name != corrected]
        for name in takers if corrected is None else [*takers, corrected]:
            said.setdefault(name, []).append(click)
    return said


def clicks_used(placed: Prompts) -> dict[str, dict[str, Voxels]]:
    """By class name, the voxels (i, j, k) of what the network got, "positive" and "negative", slice by slice."""
    used: dict[str, dict[str, Voxels]] = {}
    for name, prompts in placed.items():
        for one in sorted(prompts, key=lambda one: one.slice):
            if one.voxel is not None:
                title = "positive" if one.positive else "negative"
                used.setdefault(name, {}).setdefault(title, []).append(list(one.voxel))
    return used


def state_of(image: Paths) -> tuple:
    """What changes when an image's files change."""
    files = [
        file for path in as_paths(image) for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    return tuple((str(file), *time_and_size(file)) for file in files)
