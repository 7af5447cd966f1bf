"""A stroke or a region that a user drew, as a few clicks: networks that take points know no strokes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 8
"""clicks that one stroke becomes; each may be asked about on many slices"""
LEAST_MM = 5.0
"""between two of them"""


def clicks_along(voxels: np.ndarray, spacing: Sequence[float]) -> list[tuple[int, int, int]]:
    """Voxels in the middle of a stroke's breadth, well spread along it: first the middle one, then the ends.

    A brush is broad, and its rim may lie beyond the structure that it was drawn in; its middle line hardly does.

    Args:
        voxels: (N, 3) whole numbers i, j, k, at least one.
        spacing: mm of i, j, k.
    """
    line = _middle_line(voxels)
    places = line * np.asarray(spacing, dtype=float)
    chosen = [int(((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    away = np.linalg.norm(places - places[chosen[0]], axis=1)  # from the nearest chosen one, mm
    while len(chosen) < MOST and away.max() >= LEAST_MM:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return [tuple(voxel) for voxel in line[chosen].tolist()]


def _middle_line(voxels: np.ndarray) -> np.ndarray:
    """(M, 3) voxels; in two dimensions where the stroke lies in one plane, as a mouse draws it."""
    from skimage.morphology import skeletonize  # late: few users of a segmenter draw strokes

    first = voxels.min(axis=0)
    cut = np.zeros(voxels.max(axis=0) - first + 1, dtype=bool)
    cut[tuple((voxels - first).T)] = True
    flat = next((axis for axis, size in enumerate(cut.shape) if size == 1), None)
    thin = skeletonize(cut) if flat is None else np.expand_dims(skeletonize(cut.take(0, flat)), flat)
    return np.argwhere(thin if thin.any() else cut) + first
