"""Linear resampling of fields from edge to edge, as torch's `interpolate(align_corners=False, antialias=True)` does it,
or from corner to corner, as with `align_corners=True`; and the class that is highest afterwards, for which hardly
anything needs to be resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

CHUNK = 1 << 16
"""voxels that are interpolated at once: what is held beside the result stays small, however large that is"""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of a field, cut across one axis, on its way to a part of the resampled field: planes of both."""

    axis: int
    """of the field's spatial ones"""
    source: int
    """planes of the whole field"""
    target: int
    """of the whole resampled field"""
    first: int
    """which of `source` the part begins with"""
    start: int
    stop: int
    """of `target`, those that are wanted; what they are made of lies in the part, see `reach`"""

    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """Which planes of the part (taps, wanted) count for each that is wanted, and how much, float32."""
        index, weight = _taps(self.source, self.target)
        index, weight = index[:, self.start : self.stop], weight[:, self.start : self.stop]
        return np.where(weight > 0, index - self.first, 0), weight

    def sides(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each plane that is wanted the lower and upper of the part's around its centre, and the upper's share."""
        wanted = slice(self.start, self.stop)
        lower, upper, share = (each[wanted] for each in _neighbours(self.source, self.target, False))
        return lower - self.first, upper - self.first, share


def reach(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last of `source` planes that each of `target` is made of, (target,) each, neither ever falling."""
    if target == source:
        return np.arange(source), np.arange(source)
    if target > source:
        lower, upper, _ = _neighbours(source, target, False)
        return lower, upper
    index, weight = _taps(source, target)
    return index[0], np.where(weight > 0, index, 0).max(axis=0)


def resample(field: np.ndarray, size: Sequence[int], *, corners: bool = False) -> np.ndarray:
    """(C, *spatial) of any type -> float32 (C, *size), antialiased along axes that shrink, which come first.

    `corners`: the outermost voxels stay where they are, and nothing is antialiased.

    A field of that size already comes back with its very values.
    """
    field = field.astype(np.float32, copy=False)
    axes = range(1, field.ndim)
    for axis in sorted(axes, key=lambda axis: size[axis - 1] / field.shape[axis]):
        if field.shape[axis] != size[axis - 1]:
            field = _resample_axis(field, axis, size[axis - 1], corners)
    return field


def highest_class(logits: np.ndarray) -> np.ndarray:
    """(K+1, …) -> (…) index of the highest, the lower on a tie; uint8, int16 above 256 classes."""
    best = logits[0].copy()
    labels = np.zeros(best.shape, class_type(len(logits)))
    for index in range(1, len(logits)):
        np.copyto(labels, labels.dtype.type(index), where=logits[index] > best)
        np.maximum(best, logits[index], out=best)
    return labels


def class_type(number: int) -> type:
    """Of class indices."""
    return np.uint8 if number <= 256 else np.int16


def resampled_classes(
    logits: np.ndarray, size: Sequence[int], *, corners: bool = False, stretch: Stretch | None = None
) -> np.ndarray:
    """(K+1, *spatial) float32 -> (*size): `highest_class` of what `resample` would give.

    Where all logits around a voxel have the same highest class, so has what is interpolated between them: only voxels
    between different classes are computed, a few of a hundred.

    `stretch`: logits and size are those of a part of the field; the result is that part of the whole field's.
    """
    if stretch is not None and stretch.target < stretch.source:
        logits = _weighted(logits, stretch.axis + 1, *stretch.taps())
    grown = stretch if stretch is not None and stretch.target > stretch.source else None
    sizes = [min(pair) for pair in zip(logits.shape[1:], size, strict=True)]
    if grown is not None:
        sizes[grown.axis] = logits.shape[grown.axis + 1]
    logits = resample(logits, sizes, corners=corners)
    labels = highest_class(logits)
    moving = [own != target for own, target in zip(labels.shape, size, strict=True)]
    sides = [_neighbours(own, target, corners) for own, target in zip(labels.shape, size, strict=True)]
    if grown is not None:
        moving[grown.axis], sides[grown.axis] = True, grown.sides()
    return _between(logits, labels, size, moving, sides) if any(moving) else labels


Sides = Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""of each axis, as of `_neighbours`"""


def _between(
    logits: np.ndarray, labels: np.ndarray, size: Sequence[int], moving: Sequence[bool], sides: Sides
) -> np.ndarray:
    """(K+1, *spatial), and `highest_class` of it -> (*size), between neighbours along the axes that are moving."""
    lowest, upmost = labels, labels
    for axis, moves in enumerate(moving):
        if moves:
            lowest = np.minimum(lowest, _next(lowest, axis))
            upmost = np.maximum(upmost, _next(upmost, axis))
    cells = np.ix_(*(lower for lower, _, _ in sides))
    found = lowest[cells]
    open_voxels = np.flatnonzero((lowest != upmost)[cells])
    flat = logits.reshape(len(logits), -1)
    for start in range(0, len(open_voxels), CHUNK):
        voxels = open_voxels[start : start + CHUNK]
        values = _interpolated(flat, labels.shape, voxels, size, moving, sides)
        found.reshape(-1)[voxels] = highest_class(values)
    return found


def _interpolated(
    flat: np.ndarray,
    shape: Sequence[int],
    voxels: np.ndarray,
    size: Sequence[int],
    moving: Sequence[bool],
    sides: Sides,
) -> np.ndarray:
    """Logits (K+1, voxels of `shape`) at flat indices (n,) into `size` -> (K+1, n)."""
    places = np.unravel_index(voxels, tuple(size))
    values = np.zeros((len(flat), len(voxels)), np.float32)
    for corner in product(*((0, 1) if moves else (0,) for moves in moving)):
        index, weight = np.zeros(len(voxels), np.intp), np.ones(len(voxels), np.float32)
        for far, place, side, own, moves in zip(corner, places, sides, shape, moving, strict=True):
            index = index * own + side[far][place]
            if moves:
                share = side[2][place]
                weight = weight * (share if far else 1 - share)
        values += flat.take(index, axis=1) * weight
    return values


@lru_cache(maxsize=64)
def _neighbours(source: int, target: int, corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `target` voxels the lower and upper of `source`'s around its centre, and the upper one's share."""
    if corners:
        centres = np.linspace(0, source - 1, target)
    else:
        centres = ((np.arange(target) + 0.5) * (source / target) - 0.5).clip(0, source - 1)
    lower = np.floor(centres).astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), (centres - lower).astype(np.float32)


def _next(field: np.ndarray, axis: int) -> np.ndarray:
    """Each voxel's next one along an axis, the last one's itself."""
    return field.take([*range(1, field.shape[axis]), field.shape[axis] - 1], axis=axis)


def _resample_axis(field: np.ndarray, axis: int, count: int, corners: bool) -> np.ndarray:
    if corners:
        lower, upper, share = _neighbours(field.shape[axis], count, corners)
        index, weight = np.stack([lower, upper]), np.stack([1 - share, share])
    else:
        index, weight = _taps(field.shape[axis], count)
    return _weighted(field, axis, index, weight)


def _weighted(field: np.ndarray, axis: int, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums along an axis of places (taps, count) of it by their weights."""
    spread = (-1, *(1,) * (field.ndim - axis - 1))
    total = np.zeros((*field.shape[:axis], index.shape[1], *field.shape[axis + 1 :]), np.float32)
    for places, shares in zip(index, weight, strict=True):
        total += field.take(places, axis=axis) * shares.reshape(spread)
    return total


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Which source voxels (taps, target) count for each of `target`, and how much: a triangle as wide as a voxel of the
    coarser grid to each side of its centre."""
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.intp)
    last = np.minimum(np.floor(centres + reach + 0.5), source).astype(np.intp)
    index = first + np.arange((last - first).max())[:, None]
    weight = np.maximum(0, 1 - np.abs((index + 0.5 - centres) / reach)) * (index < last)
    return index.clip(max=source - 1), (weight / weight.sum(axis=0)).astype(np.float32)
