"""One client's image, and the one structure of it that is pointed at.

The protocol knows five ways to point, the `Segmenter` four. What becomes of them:

* a point is a click;
* a box is a box on its slice. It may not say where the structure isn't: networks were never asked so;
* a scribble is a few clicks along its middle line (`Segmenter.add_scribble`);
* a lasso around the structure, on one of the network's slices, is a mask there; for networks that weren't trained with
  masks it is the box around it, and a click in its middle. One that is drawn across the slices, or that says where the
  structure isn't, becomes clicks, as a scribble does;
* a segment that is sent is what is shown from then on, and what further prompts correct.

A box or a lasso is about one slice, and the extension's users expect a structure: it is carried on to the neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.corrections import innermost
from pgsam_monai.nninteractive.answering import Answering
from pgsam_monai.nninteractive.arrays import extent
from pgsam_monai.prompts.click_files import ClassClicks, Clicks

Voxel = Sequence[int]
"""(z, y, x)"""


class PointingSession:
    """Arrays and voxels are in the protocol's order (z, y, x); every prompt returns the mask that is shown then.

    One thread at a time. The network, which sessions share, is asked under its own lock.
    """

    def __init__(
        self, answering: Answering, image: np.ndarray, spacing: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            answering: the network, and how images lie.
            image: (z, y, x).
            spacing: mm along z, y and x; None: as `answering` has it.

        Raises:
            UserFault: the network's preprocessing can't do with it.
        """
        self._answering, self.shape = answering, image.shape
        self._affine = answering.affine_with(spacing)
        self._steps: list[int] = []
        """of the segmenter, that each prompt took"""
        self._segmenter = answering.segmenter()
        self._segmenter.set_image(image.transpose(), self._affine)

    def show(self, mask: np.ndarray) -> None:
        """Start over from a segment, (z, y, x) of bool, or from nothing where it is empty."""
        answering = self._answering
        value = answering.model.labels[answering.label]
        shown = np.where(mask.transpose(), np.int32(value), answering.background) if mask.any() else None
        with answering.network:
            self._segmenter.start_over(shown)
        self._steps.clear()

    def add_point(self, voxel: Voxel, positive: bool) -> np.ndarray:
        """Raises UserFault: outside the image."""
        if not all(0 <= at < size for at, size in zip(voxel, self.shape, strict=True)):
            raise UserFault(
                f"The point {_written(voxel)} lies outside the image, whose shape is {self.shape}."
            )
        return self._say(**{"positive" if positive else "negative": (_turned(voxel),)})

    def add_box(self, first: Voxel, second: Voxel, positive: bool) -> np.ndarray:
        """By two opposite corners, which belong to it; they may lie outside the image.

        Raises:
            UserFault: negative, wholly outside the image, or a line on the network's slices.
        """
        if not positive:
            raise UserFault(
                "A box says where the structure is; for where it isn't, use points, scribbles or lassos."
            )
        ends = [(min(pair), max(pair)) for pair in zip(_turned(first), _turned(second), strict=True)]
        if any(high < 0 or low >= size for (low, high), size in zip(ends, reversed(self.shape), strict=True)):
            raise UserFault(
                f"The box from {_written(first)} to {_written(second)} lies outside the image, whose shape is "
                f"{self.shape}."
            )
        if not self._lies_on_slices(ends):
            raise UserFault(
                f"The box is no more than a line on the network's slices, which are {self._plane}; draw it on one of "
                "them, or use points, scribbles or a lasso."
            )
        return self._say(carry_on=True, boxes=(_roi(ends),))

    def add_lasso(self, mask: np.ndarray, positive: bool) -> np.ndarray:
        """By a region, (z, y, x) of bool. Raises UserFault: empty."""
        drawn = self._drawn(mask)
        ends, axis = extent(drawn), self._segmenter.volume.grid.axes[2]
        first, last = ends[axis]
        if not positive or first < last or not self._lies_on_slices(ends):
            return self._stroke(drawn, positive)
        if not self._answering.model.trained_with_masks:
            return self._say(carry_on=True, boxes=(_roi(ends),), positive=(_middle(drawn, axis, first),))
        with self._answering.network:
            self._segmenter.add_mask(drawn, self._answering.label)
            return self._shown(carry_on=True)

    def add_scribble(self, mask: np.ndarray, positive: bool) -> np.ndarray:
        """By a stroke, (z, y, x) of bool. Raises UserFault: empty."""
        return self._stroke(self._drawn(mask), positive)

    def undo(self) -> np.ndarray | None:
        """Take the latest prompt back; None if there is none."""
        if not self._steps:
            return None
        with self._answering.network:
            for _ in range(self._steps.pop()):
                self._segmenter.undo()
            return self.shown()

    def shown(self) -> np.ndarray:
        """(z, y, x) of bool."""
        return self._segmenter.mask(self._answering.label).transpose()

    def _drawn(self, mask: np.ndarray) -> np.ndarray:
        """(i, j, k) of what a user drew."""
        if not mask.any():
            raise UserFault("Nothing was drawn: the mask is 0 everywhere.")
        return mask.transpose()

    def _stroke(self, drawn: np.ndarray, positive: bool) -> np.ndarray:
        with self._answering.network:
            self._segmenter.add_scribble(np.argwhere(drawn), self._answering.label, positive=positive)
            return self._shown(carry_on=False)

    def _say(self, *, carry_on: bool = False, **said: tuple) -> np.ndarray:
        """Ask, by what `ClassClicks` holds, in voxels (i, j, k)."""
        with self._answering.network:
            self._segmenter.add_prompts(Clicks(labels={self._answering.label: ClassClicks(**said)}))
            return self._shown(carry_on)

    def _shown(self, carry_on: bool) -> np.ndarray:
        """(z, y, x) of bool after a prompt; the network is asked if it is to be carried on."""
        carries = carry_on and self._answering.propagate
        if carries:
            self._segmenter.propagate(self._answering.label)
        self._steps.append(2 if carries else 1)
        return self.shown()

    def _lies_on_slices(self, ends: Sequence[tuple[int, int]]) -> bool:
        """Whether a region has rows and columns on the network's slices, more than one of each."""
        rows, columns, _ = self._segmenter.volume.grid.axes
        return all(ends[axis][0] < ends[axis][1] for axis in (rows, columns))

    @property
    def _plane(self) -> str:
        """What viewers call the network's slices, if images lie as the server was told."""
        across = self._affine[:3, self._segmenter.volume.grid.axes[2]]
        return ("sagittal", "coronal", "axial")[int(np.abs(across).argmax())]


def _turned(voxel: Voxel) -> tuple[int, int, int]:
    """(z, y, x) -> (i, j, k), or back."""
    z, y, x = voxel
    return x, y, z


def _roi(ends: Sequence[tuple[int, int]]) -> tuple[float, ...]:
    return tuple(float(end) for pair in ends for end in pair)


def _middle(drawn: np.ndarray, axis: int, at: int) -> tuple[int, int, int]:
    """The voxel that lies deepest in a region (i, j, k) on slice `at` across an axis."""
    place = list(innermost(drawn.take(at, axis)))
    place.insert(axis, at)
    return tuple(place)


def _written(voxel: Voxel) -> str:
    return f"(z, y, x) = ({', '.join(map(str, voxel))})"
