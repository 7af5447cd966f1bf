"""Predicted structures without stray pieces and holes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from pgsam_monai.base.cleaning import Cleaning


def clean(label_map: np.ndarray, cleanings: Mapping[int, Cleaning], background: int = 0) -> np.ndarray:
    """A cleaned copy of a label map (i, j, k).

    Pieces of all structures are dropped first, then holes are filled, in the order of `cleanings`: what was dropped
    within a structure can be filled by it.

    Args:
        label_map: integers.
        cleanings: value -> what is done to it.
        background: the value that dropped voxels take, and that holes have.
    """
    cleaned = label_map.copy()
    for value, cleaning in cleanings.items():
        box = cleaned[around(cleaned == value)]
        mask = box == value
        if cleaning.pieces and mask.any():
            box[mask & ~kept_pieces(mask, cleaning.pieces)] = background
    for value, cleaning in cleanings.items():
        box = cleaned[around(cleaned == value)]
        if cleaning.fill and box.size:
            box[filled(box == value) & (box == background)] = value
    return cleaned


def around(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds a mask (i, j, k); an empty one where that holds nothing."""
    found = ndimage.find_objects(mask.astype(np.uint8), max_label=1)
    return found[0] or (slice(0, 0),) * mask.ndim


def kept_pieces(mask: np.ndarray, share: float) -> np.ndarray:
    """A mask without its pieces of less than `share` of the largest one's voxels; voxels that touch by a corner are
    one piece."""
    pieces, number = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(pieces.ravel(), minlength=number + 1)
    sizes[0] = 0
    return (sizes >= max(1.0, share * sizes.max()))[pieces]


def filled(mask: np.ndarray) -> np.ndarray:
    """A mask with what it encloses; of one slice alone, with what its contour encloses there."""
    flat = tuple(axis for axis, size in enumerate(mask.shape) if size == 1)
    return np.expand_dims(ndimage.binary_fill_holes(mask.squeeze(flat)), flat)
