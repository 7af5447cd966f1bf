"""Answers clicks and boxes on images, of which the latest stay open so that further clicks are quick."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.files import time_and_size
from pgsam_monai.interactive.model import prompt_model
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.label.tasks.inference_request import BACKGROUND, EVERYTHING, ClickRequest
from pgsam_monai.prompts.frames import Placed
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.transforms.read import reading
from pgsam_monai.voxels.result import LabelResult

if TYPE_CHECKING:
    from pgsam_monai.bundle import Bundle

KEPT = 2
"""so many images stay open"""

Voxels = list[list[float]]
Prompts = Mapping[str, Sequence[Placed]]
"""What was said, by class name, as `prompts.frames.place_prompts` gives it."""


class OpenImages:
    """Answers requests one after the other. Each is complete in itself: nothing said before counts."""

    def __init__(self, served: Bundle, engine: str = TORCH) -> None:
        """`engine` encodes slices, see `interactive.model.prompt_model`."""
        self._served, self._engine = served, engine
        self._open: OrderedDict[tuple, _OpenImage] = OrderedDict()

    def answer(self, image: Paths, asked: ClickRequest) -> tuple[LabelResult, dict[str, dict[str, Voxels]]]:
        """The label map, and per class the voxels (i, j, k) that the network was asked about.

        A background click counts for the classes with a click or a box on its slice and, where "everything" is shown,
        for the one that the network finds there by itself; where that is none, it says what is so already.

        Args:
            image: as `images.find_image` gives it.
            asked: with clicks.

        Raises:
            UserFault: a click outside the image, or two boxes on one slice.
            ReadError: an unreadable file.
            WeightsFault: see `Bundle.network`.
        """
        with self._served.lock:
            opened = self._opened(image, asked.background)
            segmenter = opened.segmenter
            segmenter.start_over()
            placed = segmenter.volume.place(asked.clicks)
            placed = share_negatives(placed, opened.class_at, only=asked.label)
            segmenter.add_placed(placed)
            if asked.propagate:
                segmenter.propagate(slices=None if asked.propagate is True else asked.propagate)
            served = self._served
            result = LabelResult(
                voxels=opened.with_changes(segmenter.prediction, placed),
                affine=segmenter.volume.grid.affine,
                source=segmenter.volume.source,
                names=served.names,
                values=served.values,
            )
        return result if asked.label is None else result.only(asked.label), clicks_used(placed)

    def _opened(self, image: Paths, background: str) -> _OpenImage:
        model = prompt_model(self._served, self._engine)
        weights = (self._served.stamp, model.encoder)
        for key in [key for key in self._open if key[0] != weights]:
            del self._open[key]
        key = (weights, background, state_of(image))
        if key not in self._open:
            segmenter = Segmenter(model, background=background)
            with reading():
                segmenter.set_image(image)
            while len(self._open) >= KEPT:
                self._open.popitem(last=False)
            found = segmenter.prediction if background == EVERYTHING else None
            shown = None if found is None else self._served.clean(found)
            self._open[key] = _OpenImage(segmenter=segmenter, found=found, shown=shown)
        self._open.move_to_end(key)
        return self._open[key]


@dataclass(frozen=True, kw_only=True)
class _OpenImage:
    """An image, and what is shown of it without clicks: label maps (i, j, k)."""

    segmenter: Segmenter
    found: np.ndarray | None
    """by the network; None where nothing is shown"""
    shown: np.ndarray | None
    """after the bundle's postprocessing, as automatic segmentation shows it"""

    def with_changes(self, prediction: np.ndarray, placed: Prompts) -> np.ndarray:
        """What is shown, with what prompts changed; a part that postprocessing took away is back where one says so."""
        if self.found is None:
            return prediction
        result = np.where(prediction != self.found, prediction, self.shown)
        for name, prompts in placed.items():
            value = self.segmenter.model.labels[name]
            for click in (one for one in prompts if one.positive):
                voxel = _voxel_of(click.voxel, result.shape)
                if prediction[voxel] == value != result[voxel]:
                    parts, _ = ndimage.label(prediction == value)
                    result[parts == parts[voxel]] = value
        return result

    def class_at(self, voxel: Sequence[float]) -> str | None:
        """The class that is shown at (i, j, k) without clicks, if any."""
        if self.found is None:
            return None
        names = {value: name for name, value in self.segmenter.model.labels.items()}
        return names.get(int(self.found[_voxel_of(voxel, self.found.shape)]))


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
        shown: voxel (i, j, k) -> the class that is shown there without clicks, if any.
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
