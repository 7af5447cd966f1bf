"""What is asked about a slice: structures, parts of them, several together. The picture alone never tells which."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pgsam_monai.data.drawn.scenes import Scene

LEAST = 12
"""Pixels of a target."""
MOST = 0.6
"""Of the slice that a target may cover."""


def choose_targets(rng: np.random.Generator, scene: Scene, found: np.ndarray, count: int) -> np.ndarray:
    """Masks to be asked for, as different as the slice allows.

    Args:
        rng: draws them.
        scene: what the structures are.
        found: (S, S) int16, the structures on the slice.
        count: how many.

    Returns:
        (count, S, S) bool. A slice that shows less than `LEAST` pixels of anything gives squares of nothing in
        particular: even those are to be answered as they are asked for, by a box or by clicks.
    """
    sizes = np.bincount(found.ravel(), minlength=len(scene.tissues))
    sizes[0] = 0
    there = np.flatnonzero(sizes >= LEAST)
    if not len(there):
        return np.stack([_square(rng, len(found)) for _ in range(count)])
    # Small ones as often as large ones, each once before any comes again.
    order = np.concatenate([rng.permutation(there) for _ in range(-(-count // len(there)))])
    return np.stack([_target(rng, scene, found, int(number)) for number in order[:count]])


def _target(rng: np.random.Generator, scene: Scene, found: np.ndarray, number: int) -> np.ndarray:
    mask = scene.family[number][found] if rng.random() < 0.5 else found == number
    kind = rng.choice(["whole", "piece", "several", "part"], p=[0.6, 0.16, 0.12, 0.12])
    if kind == "piece":
        mask = _piece(rng, mask)
    elif kind == "several":
        mask = mask | _companion(rng, scene, found, number, mask)
    elif kind == "part":
        mask = _part(rng, mask)
    size = np.count_nonzero(mask)
    if LEAST <= size <= MOST * mask.size:
        return mask
    alone = found == number
    return alone if np.count_nonzero(alone) <= MOST * mask.size else _part(rng, alone)


def _piece(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """One connected piece."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    pixels = np.flatnonzero(pieces)
    return pieces == pieces.ravel()[pixels[rng.integers(len(pixels))]]


def _companion(
    rng: np.random.Generator, scene: Scene, found: np.ndarray, number: int, mask: np.ndarray
) -> np.ndarray:
    """Its partner, or a neighbour that it touches."""
    partners = [pair for pair in scene.pairs if number in pair]
    if partners and rng.random() < 0.7:
        return np.isin(found, partners[rng.integers(len(partners))])
    rim = found[ndimage.binary_dilation(mask) & ~mask]
    rim = rim[rim > 0]
    return found == rim[rng.integers(len(rim))] if len(rim) else mask


def _part(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """What lies on one side of a line, or within a disc."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return mask
    pick = rng.integers(len(rows))
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        return mask & (np.cos(angle) * (y - rows[pick]) + np.sin(angle) * (x - columns[pick]) > 0)
    radius = rng.uniform(0.5, 1.2) * np.sqrt(len(rows) / np.pi)
    return mask & ((y - rows[pick]) ** 2 + (x - columns[pick]) ** 2 < radius**2)


def _square(rng: np.random.Generator, size: int) -> np.ndarray:
    top, left = rng.integers(0, size // 2, 2)
    side = int(rng.integers(6, size // 2))
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask
