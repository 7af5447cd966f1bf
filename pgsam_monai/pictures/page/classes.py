"""The classes of a page: names, colours, sizes, agreement with a reference, and where most of each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pgsam_monai.base.colours import COLOURS
from pgsam_monai.base.errors import UserFault

MAX_VALUE = 2**24 - 1
"""Label values up to packed colours (red << 16 | green << 8 | blue)."""
MAX_CLASSES = 1000
"""More values than that are no label map."""
COUNTED_VOXELS = 2**22
TINTS = ((0, 0.0), (255, 0.45), (0, 0.4))
"""(grey, share of it) mixed into the colours, a round of them at a time: pure, lighter, darker."""


@dataclass(frozen=True, kw_only=True)
class ShownClass:
    """A class, as the page tells of it. Counts are of the file's voxels, whether or not the page is reduced."""

    name: str
    value: int
    """in the label maps"""
    colour: str
    """#rrggbb"""
    voxels: int
    """in the prediction"""
    reference_voxels: int | None
    """None without a reference"""
    dice: float | None
    """None without a reference, and where neither map holds the class"""
    best: tuple[int, int, int] | None
    """x, y, z: along each axis the slice with most of the class, of several the middle one; None without the class"""


def find_classes(
    prediction: np.ndarray,
    reference: np.ndarray | None,
    labels: Mapping[str, int],
    *,
    background: int | None = 0,
) -> list[ShownClass]:
    """The named classes in their order, then values that no name is known of.

    Args:
        prediction, reference: label maps (z, y, x).
        labels: names and values of the classes.
        background: value that is no class; None: every value that `labels` does not name.

    Raises:
        ValueError: two names for a value, a value beyond packed colours, or more than 1000 classes.
    """
    maps = [prediction] if reference is None else [prediction, reference]
    counts = [_counts(label_map) for label_map in maps]
    named = [*labels.items(), *_unnamed(counts, labels, background)]
    _check_classes(named)
    best = {}
    for label_map in reversed(maps):  # the reference tells where the prediction has none of a class
        best |= _best_slices(class_indices(label_map, [value for _, value in named]))
    shared = None if reference is None else _counts(prediction[prediction == reference])
    found = []
    for index, (name, value) in enumerate(named):
        sizes = [_at(count, value) for count in counts]
        found.append(
            ShownClass(
                name=name,
                value=value,
                colour=class_colour(index),
                voxels=sizes[0],
                reference_voxels=None if reference is None else sizes[1],
                dice=None if shared is None else _dice(_at(shared, value), *sizes),
                best=best.get(index),
            )
        )
    return found


def _check_classes(named: Sequence[tuple[str, int]]) -> None:
    values = [value for _, value in named]
    if len(set(values)) < len(values):
        raise UserFault(f"Class names must have a value each, got {dict(named)}.")
    if named and not 0 <= min(values) <= max(values) <= MAX_VALUE:
        raise UserFault(f"Values of classes lie between 0 and {MAX_VALUE}, got {dict(named)}.")
    if len(named) > MAX_CLASSES:
        raise UserFault(
            f"The label map holds {len(named)} values, more than {MAX_CLASSES} are no classes; give the file of the "
            "classes, not the image."
        )


def class_indices(label_map: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """1 + the place in `values` of each voxel's value, 0 where it is none of them; uint8, or uint16 beyond 255."""
    dtype = np.uint8 if len(values) < 256 else np.uint16
    table = np.zeros(max([int(label_map.max(initial=0)), *values]) + 1, dtype)
    table[list(values)] = range(1, len(values) + 1)
    return table[label_map]


def class_colour(index: int) -> str:
    """#rrggbb of the class at `index`; beyond the colours of `overlays` lighter, then darker ones, then again."""
    code, (grey, share) = COLOURS[index % len(COLOURS)], TINTS[index // len(COLOURS) % len(TINTS)]
    mixed = [round(int(code[at : at + 2], 16) * (1 - share) + grey * share) for at in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _unnamed(
    counts: Sequence[np.ndarray], labels: Mapping[str, int], background: int | None
) -> list[tuple[str, int]]:
    """The values that were found and have no name, with one."""
    if background is None:
        return []
    found = sorted(set().union(*(np.flatnonzero(count).tolist() for count in counts)))
    left_out = {background, *labels.values()}
    return [(f"label {value}", value) for value in found if value not in left_out]


def _counts(label_map: np.ndarray) -> np.ndarray:
    """How often each value from 0 to the largest is there."""
    flat = label_map.reshape(-1)
    size = int(flat.max(initial=0)) + 1
    parts = range(0, max(flat.size, 1), COUNTED_VOXELS)  # NumPy counts a copy of eight bytes a voxel
    return sum(np.bincount(flat[at : at + COUNTED_VOXELS], minlength=size) for at in parts)


def _at(counts: np.ndarray, value: int) -> int:
    return int(counts[value]) if value < len(counts) else 0


def _dice(shared: int, first: int, second: int) -> float | None:
    return 2 * shared / (first + second) if first + second else None


def _best_slices(indices: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """Place of a class -> (x, y, z), the slices that hold most of it, each along its own axis; (z, y, x) given."""
    places = np.flatnonzero(indices)
    classes = indices.reshape(-1)[places].astype(np.int64) - 1
    best = [
        _largest(classes, along, size)
        for size, along in zip(indices.shape, np.unravel_index(places, indices.shape), strict=True)
    ]
    held = np.unique(classes).tolist()
    return {index: tuple(int(of[index]) for of in reversed(best)) for index in held}


def _largest(classes: np.ndarray, along: np.ndarray, size: int) -> np.ndarray:
    """Of each class the coordinate, of `size`, at which it is found most often; the middle one of several."""
    count = int(classes.max(initial=0)) + 1
    areas = np.bincount(classes * size + along, minlength=count * size).reshape(count, size)
    largest = [np.flatnonzero(area == area.max()) for area in areas]
    return np.array([equal[len(equal) // 2] for equal in largest])
