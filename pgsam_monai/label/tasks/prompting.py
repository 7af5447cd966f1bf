"""Answers clicks and boxes on images, of which the latest stay open so that further clicks are quick."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.answers import Place
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.volume import Volume
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.tasks.click_requests import BACKGROUND, EVERYTHING, Prompting
from pgsam_monai.label.tasks.images import Image, reading, state_of
from pgsam_monai.label.tasks.requests import cut
from pgsam_monai.label.tasks.results import LabelResult
from pgsam_monai.prompts.click_files import ClassClicks, Clicks, in_voxels
from pgsam_monai.prompts.frames import from_frame
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from pgsam_monai.label.tasks.served import ServedBundle

KEPT = 2
"""so many images stay open"""

Voxels = list[list[float]]


class PromptedImages:
    """Answers requests one after the other. Each is complete in itself: nothing said before counts."""

    def __init__(self, served: ServedBundle) -> None:
        self._served = served
        self._open: OrderedDict[tuple, _OpenImage] = OrderedDict()

    def answer(self, image: Image, prompting: Prompting) -> tuple[LabelResult, dict[str, dict[str, Voxels]]]:
        """The label map, and per class the native voxels (i, j, k) that the network's points map back to.

        A background click counts for the classes with a click or a box on its slice and, where "everything" is shown,
        for the one that the network finds there by itself; where that is none, it says what is so already.

        Args:
            image: as `images.find_image` gives it.
            prompting: with clicks.

        Raises:
            RequestFault: a click outside the image, or two boxes on one slice.
            ReadError: an unreadable file.
            ServedFault: see ``ServedBundle.network``.
        """
        with self._served.lock:
            opened = self._opened(image, prompting.background)
            segmenter = opened.segmenter
            try:
                segmenter.start_over()
                meant = _meant(opened, prompting)
                segmenter.add_prompts(meant)
                if prompting.propagate:
                    slices = None if prompting.propagate is True else prompting.propagate
                    segmenter.propagate(slices=slices)
            except ValueError as fault:
                raise RequestFault(cut(str(fault), 300), status=422) from fault
            served, used = self._served, clicks_used(segmenter, self._served.names)
            result = LabelResult(
                voxels=opened.with_changes(segmenter.prediction, meant),
                affine=segmenter.volume.grid.affine,
                source=segmenter.volume.source,
                names=served.names,
                values=served.values,
            )
        return result if prompting.label is None else result.only(prompting.label), used

    def _opened(self, image: Image, background: str) -> _OpenImage:
        model = self._served.prompt_model()
        weights = self._served.stamp
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

    def with_changes(self, prediction: np.ndarray, clicks: Clicks) -> np.ndarray:
        """What is shown, with what `clicks` changed; a part that postprocessing took away is back where one says so."""
        if self.found is None:
            return prediction
        result = np.where(prediction != self.found, prediction, self.shown)
        for name, said in clicks.labels.items():
            value = self.segmenter.model.labels[name]
            for place in said.positive:
                voxel = _voxel_of(place, result.shape)
                if prediction[voxel] == value != result[voxel]:
                    parts, _ = ndimage.label(prediction == value)
                    result[parts == parts[voxel]] = value
        return result


def _meant(opened: _OpenImage, prompting: Prompting) -> Clicks:
    """The prompts in voxels, each negative click with the classes that it counts for."""
    volume, label_map = opened.segmenter.volume, opened.found
    clicks = in_voxels(prompting.clicks, volume.grid.affine)
    if label_map is None:
        return share_negatives(clicks, volume, lambda place: None)
    names = {value: name for name, value in opened.segmenter.model.labels.items()}

    def shown(place: Sequence[float]) -> str | None:
        name = names.get(int(label_map[_voxel_of(place, label_map.shape)]))
        return name if prompting.label in (None, name) else None

    return share_negatives(clicks, volume, shown)


def _voxel_of(place: Sequence[float], shape: Sequence[int]) -> tuple[int, ...]:
    """The voxel that a place lies in, or the nearest one."""
    return tuple(np.clip(np.rint(place).astype(int), 0, np.array(shape) - 1).tolist())


def share_negatives(clicks: Clicks, volume: Volume, shown: Callable[[Sequence[float]], str | None]) -> Clicks:
    """Each class with the negative clicks that count for it.

    Clients send one list of negative clicks for all classes; a class elsewhere is not meant by them.

    Args:
        clicks: in voxels; ``BACKGROUND`` has the negative ones.
        volume: which they lie in.
        shown: voxel (i, j, k) -> the class that is shown there without clicks, if any.

    Raises:
        ValueError: outside the image.
    """
    said = dict(clicks.labels)
    negative = said.pop(BACKGROUND, ClassClicks()).negative
    slices = {name: _slices_of(name, one, volume) for name, one in said.items()}
    taken: dict[str, tuple] = {}
    for place, at in zip(negative, volume.place_clicks(negative)[1], strict=True):
        corrected = shown(place)
        takers = [name for name in said if at in slices[name] or name == corrected]
        if corrected is not None and corrected not in takers:
            takers.append(corrected)
        taken |= {name: (*taken.get(name, ()), place) for name in takers}
    return replace(
        clicks,
        labels={
            name: replace(said.get(name, ClassClicks()), negative=taken.get(name, ()))
            for name in dict.fromkeys((*said, *taken))
        },
    )


def _slices_of(name: str, said: ClassClicks, volume: Volume) -> set[int]:
    """Where a class has clicks or a box."""
    try:
        slices = set(volume.place_clicks(said.positive)[1])
        for roi in said.boxes:
            slices |= set(volume.place_roi(roi))
    except ValueError as fault:
        raise UserFault(f"Class '{name}': {fault}") from fault
    return slices


def clicks_used(segmenter: Segmenter, names: Sequence[str]) -> dict[str, dict[str, Voxels]]:
    """By class name, the native voxels (i, j, k) of the points that the network got, "positive" and "negative"."""
    volume = segmenter.volume
    used: dict[str, dict[str, Voxels]] = {}
    for place, asked in sorted(segmenter.asked.items()):
        for title, kind in (("positive", POSITIVE), ("negative", NEGATIVE)):
            points = asked.clicks.points[asked.clicks.labels == kind]
            if len(points):
                voxels = _native(volume, points, place)
                used.setdefault(names[place.index], {}).setdefault(title, []).extend(voxels)
    return used


def _native(volume: Volume, points: np.ndarray, place: Place) -> Voxels:
    voxels = from_frame(
        points,
        [place.slice] * len(points),
        native_affine=volume.grid.affine,
        affine=volume.affine,
        frame=volume.frame,
    )
    return np.round(voxels, 3).tolist()
