"""Several masks of one image become one label map, in which a voxel has one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.records import ReadError, Volume, require_one_grid

BLOCK = 1 << 20
"""voxels of a damaged mask whose values are shown"""


def merge_masks(masks: Iterable[tuple[int, Path, Volume]]) -> Volume:
    """One label map (1, i, j, k) of (value, file, mask (1, i, j, k)), which are gone through once.

    Where masks overlap, the one with fewer voxels is kept, of equal ones the lower value: a tumour in its organ stays.
    What overlaps is told in `overlaps`.

    Raises:
        ReadError: a mask holds more than 0 and one other value, or lies on another grid than the first.
    """
    merged: Volume | None = None
    first_file, sizes = Path(), dict[int, int]()
    overlaps: Counter[tuple[int, int]] = Counter()
    for value, file, mask in masks:
        voxels = _binary(mask.voxels, file)
        if merged is None:
            first_file = file
            merged = replace(mask, voxels=np.zeros_like(voxels, dtype=np.int32))
        require_one_grid(merged, mask, file, first_file, what="mask")
        sizes[value] = int(np.count_nonzero(voxels))
        _place(merged.voxels, voxels, value, sizes, overlaps)
    if merged is None:
        raise ReadError("(no file)", "the case has no mask")
    return replace(merged, overlaps=tuple((*pair, count) for pair, count in sorted(overlaps.items())))


def merge_layers(label: Volume, file: Path) -> Volume:
    """One label map of a label with several channels (C, i, j, k), one-hot: channel c is class c + 1.

    Where every voxel lies in exactly one channel the first is the background, and channel c is class c.

    Raises:
        ReadError: a channel holds other values than 0 and 1.
    """
    count = len(label.voxels)
    layers = [_binary(layer[None], file, layers=count) for layer in label.voxels]
    with_background = bool((np.sum(layers, axis=0, dtype=np.int16) == 1).all())
    first = 1 if with_background else 0
    masks = ((c + 1 - first, file, replace(label, voxels=layers[c])) for c in range(first, count))
    classes = "channel c is class c, the first background" if with_background else "channel c is class c + 1"
    return replace(
        merge_masks(masks), notes=(*label.notes, f"{count} one-hot channels, counted from 0: {classes}")
    )


def _binary(voxels: np.ndarray, file: Path, *, layers: int = 0) -> np.ndarray:
    """`voxels` as booleans, memory kept. Raises ReadError unless they hold 0 and one whole number, 1 in layers."""
    if voxels.dtype == bool:
        return voxels
    mask = voxels != 0
    inside = voxels[mask]
    value = inside[0] if inside.size else 1
    fits = value in (1, 255) if layers else 0 < value < np.inf and value == np.rint(value)
    if not (fits and (inside == value).all()):
        what = f"a label with {layers} channels" if layers else "a mask"
        shown = ", ".join(f"{other:g}" for other in np.unique(inside[:BLOCK])[:4])
        raise ReadError(
            file,
            f"{what} that holds {shown} beside 0, where a structure's mask must be binary; probabilities and label maps"
            " are none: export one binary mask per structure, or one label map of all",
        )
    return mask


def _place(
    merged: np.ndarray, mask: np.ndarray, value: int, sizes: dict[int, int], overlaps: Counter
) -> None:
    """Write `value` into `merged` where `mask` is set and no smaller structure stands."""
    there = merged[mask]
    for other in np.unique(there[there != 0]).tolist():
        both = there == other
        overlaps[min(other, value), max(other, value)] += int(np.count_nonzero(both))
        if (sizes[value], value) < (sizes[other], other):
            there[both] = value
    there[there == 0] = value
    merged[mask] = there
