"""Resizing as SciPy's `ndimage.zoom` does it, and with it the papers on 2-D networks: the first and the last pixel stay
where they are, and those between are spread evenly (torch's `align_corners=True`).

Both ways of resizing treat each axis for itself and are linear, or pick pixels: what SciPy does along an axis is found
once for each pair of sizes, as weights or places, and holds for whole batches, in NumPy and in torch, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def cubic_weights(source: int, target: int, via: Sequence[int] = ()) -> np.ndarray:
    """What each of `source` pixels adds to each of `target`: (target, source), float64, of `zoom(order=3)`.

    The cubic spline runs through the pixels, without antialiasing where it shrinks, and may leave their range.

    Args:
        source, target: pixels along the axis.
        via: sizes to which the axis is brought before, in this order.
    """
    from scipy.ndimage import zoom  # SciPy takes longer to import than to resize a slice

    weights = np.eye(source)
    for before, after in _steps(source, target, via):
        pixels = np.eye(before)
        spread = [zoom(pixel, after / before, order=3) for pixel in pixels]
        weights = np.stack(spread, axis=1) @ weights
    return weights


@lru_cache(maxsize=64)
def nearest_places(source: int, target: int, via: Sequence[int] = ()) -> np.ndarray:
    """Which of `source` pixels each of `target` shows, (target,), as by `zoom(order=0)`; -1 where that shows none.

    Rounding can carry the last pixel beyond the edge, where SciPy fills in 0. Arguments as of `cubic_weights`.
    """
    from scipy.ndimage import zoom

    places = np.arange(source)
    for before, after in _steps(source, target, via):
        picked = zoom(np.arange(1, before + 1), after / before, order=0) - 1
        places = np.where(picked < 0, -1, places[picked])
    return places


def cubic(image: np.ndarray, size: tuple[int, int], via: Sequence[int] = ()) -> np.ndarray:
    """(…, H, W) -> float32 (…, *size)."""
    if image.shape[-2:] == tuple(size) and not via:
        return image.astype(np.float32, copy=False)
    rows, columns = (
        cubic_weights(own, target, via) for own, target in zip(image.shape[-2:], size, strict=True)
    )
    return (rows @ image.astype(np.float64) @ columns.T).astype(np.float32)


def _steps(source: int, target: int, via: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of each resizing that changes the size."""
    sizes = [source, *via, target]
    return [pair for pair in zip(sizes, sizes[1:], strict=False) if pair[0] != pair[1]]
