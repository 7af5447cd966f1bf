"""How far a click reaches, and what of a volume lies within."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SPREAD = 2.0
"""Radius of the ball that a click may change, as a share of the way to the contour."""
SURE = 0.8
"""Likewise, of the ball around the middle of the error."""
FIRST_WINDOW = 4.0
"""mm around a click in which the contour is looked for first"""


class Click(NamedTuple):
    """One click on a slice."""

    slice: int
    row: int
    column: int
    index: int
    """of the class, 1..K"""
    positive: bool

    @property
    def pixel(self) -> tuple[int, int]:
        return self.row, self.column

    @property
    def voxel(self) -> tuple[int, int, int]:
        return self.row, self.column, self.slice


class Ball(NamedTuple):
    """Around a click: how far what is to be corrected reaches."""

    click: Click
    reach: float
    """mm, see `reach_of`"""
    spacing: np.ndarray
    """mm of rows, columns, slices"""

    def on(self, index: int, shape: tuple[int, int], share: float) -> np.ndarray:
        """(H, W) of bool: a slice's pixels within a share of the reach."""
        return self._within(index, shape, share * self.reach)

    def surely_on(self, index: int, shape: tuple[int, int]) -> np.ndarray:
        """Likewise, of the middle of the error."""
        return self.on(index, shape, SURE) if np.isfinite(self.reach) else np.zeros(shape, dtype=bool)

    def _within(self, index: int, shape: tuple[int, int], radius: float) -> np.ndarray:
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        mm = (
            ((rows - self.click.row) * self.spacing[0]) ** 2
            + ((columns - self.click.column) * self.spacing[1]) ** 2
            + ((index - self.click.slice) * self.spacing[2]) ** 2
        )
        return mm <= radius**2 + 1e-6


def reach_of(shown: np.ndarray, click: Click, spacing: np.ndarray) -> float:
    """mm from a click to the contour that it is to move; infinite if there is none.

    That is the contour of the class where a click adds it, however near another class is, but no farther away than what
    is shown of the class is large (`_radius`): far from it there is more to run out into than to be found. Else it is
    the contour of what is shown at the click.

    Args:
        shown: class indices (H, W, D).
        click: of a voxel whose label is to change.
        spacing: mm of rows, columns, slices.
    """
    at_most = _radius(shown == click.index, spacing) if click.positive else np.inf
    return _to_contour(shown, click, spacing, at_most)


def _radius(mask: np.ndarray, spacing: np.ndarray) -> float:
    """mm of a ball with as many voxels, or of a disc as large as its largest slice; infinite for an empty mask."""
    voxels = np.count_nonzero(mask, axis=(0, 1))
    if not voxels.any():
        return np.inf
    volume, area = voxels.sum() * np.prod(spacing), voxels.max() * np.prod(spacing[:2])
    return float(max((3 * volume / (4 * np.pi)) ** (1 / 3), np.sqrt(area / np.pi)))


def _to_contour(shown: np.ndarray, click: Click, spacing: np.ndarray, at_most: float) -> float:
    """mm; nothing is looked for farther away than `at_most`, which is the answer then."""
    place = np.array(click.voxel)
    label, radius = shown[click.voxel], FIRST_WINDOW
    while True:
        window = window_around(click, radius / spacing, shown.shape)
        cut = shown[window]
        beyond = np.argwhere(cut != label if label else cut == click.index)
        if len(beyond):
            low = [part.start for part in window]
            nearest = float(np.sqrt((((beyond + low - place) * spacing) ** 2).sum(axis=1).min()))
            if nearest <= radius:
                return min(nearest, at_most)
        if radius >= at_most or (not len(beyond) and cut.size == shown.size):
            return at_most
        radius *= 2


def window_around(click: Click, voxels: np.ndarray, shape: Sequence[int]) -> tuple[slice, ...]:
    """Rows, columns and slices at most so many voxels away, within a volume's shape."""
    margin = np.ceil(np.minimum(voxels, shape)).astype(int)
    low, high = np.maximum(click.voxel - margin, 0), np.minimum(click.voxel + margin + 1, shape)
    return tuple(slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))


def reaches_out(piece: np.ndarray, window: tuple[slice, ...], shape: Sequence[int]) -> bool:
    """Whether a piece of a window of a volume may go on outside the window."""
    inner = tuple(
        slice(0 if part.start == 0 else 1, None if part.stop == size else -1)
        for part, size in zip(window, shape, strict=True)
    )
    return np.count_nonzero(piece[inner]) < np.count_nonzero(piece)
