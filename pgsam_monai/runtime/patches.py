"""How an exported 3-D network walks over a volume: `inference.patches.PatchInferer` without torch.

Windows, padding and Gaussian weights are those of MONAI's SlidingWindowInferer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import product

import numpy as np

from pgsam_monai.runtime.record import PatchInput
from pgsam_monai.runtime.slices import Answer, Scale
from pgsam_monai.runtime.sureness import Sureness
from pgsam_monai.voxels.grid import grid_size
from pgsam_monai.voxels.resampling import resample, resampled_classes

SIGMA, LEAST = 0.125, 1e-3
"""of the Gaussian: its width as a share of the patch, and its smallest weight"""


def walk_patches(
    volume: np.ndarray, labels: np.ndarray, answer: Answer, seen: PatchInput, scale: Scale, *, spacing: Sequence[float],
    workers: int = 1, sureness: Sureness | None = None,
) -> None:  # fmt: skip
    """Write the classes of a volume (C, rows, columns, slices) into `labels` (rows, columns, slices).

    `spacing` in mm along these axes; `workers` threads each take a patch through the network; `sureness` hears the
    logits at the planned spacing.
    """
    grid = grid_size(volume.shape[1:], spacing, seen.spacing)
    logits = _walk(resample(scale(volume), grid), answer, seen, workers)
    labels[:] = resampled_classes(logits, volume.shape[1:])
    if sureness is not None:
        sureness.add(logits)


def _walk(image: np.ndarray, answer: Answer, seen: PatchInput, workers: int) -> np.ndarray:
    """(C, H, W, D) -> logits (K+1, H, W, D): the weighted mean of all patches'."""
    before = [max(0, side - own) // 2 for side, own in zip(seen.patch, image.shape[1:], strict=True)]
    after = [
        max(0, side - own) - first
        for side, own, first in zip(seen.patch, image.shape[1:], before, strict=True)
    ]
    padded = np.pad(image, [(0, 0), *zip(before, after, strict=True)])
    weight, places = gaussian(seen.patch), windows(padded.shape[1:], seen.patch, seen.overlap)
    sums: list[np.ndarray] = []
    weights, lock = np.zeros(padded.shape[1:], np.float32), threading.Lock()

    def one(place: tuple[slice, ...]) -> None:
        found = answer(padded[(slice(None), *place)][None])[0] * weight
        with lock:
            if not sums:
                sums.append(np.zeros((len(found), *padded.shape[1:]), np.float32))
            sums[0][(slice(None), *place)] += found
            weights[place] += weight

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, places))
    inside = tuple(slice(first, first + own) for first, own in zip(before, image.shape[1:], strict=True))
    return sums[0][(slice(None), *inside)] / weights[inside]


def windows(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[tuple[slice, ...]]:
    """Where patches lie in a volume that is no smaller; the last along each axis is moved back inside."""
    starts = []
    for own, side in zip(shape, patch, strict=True):
        step = side if own == side else max(1, int(side * (1 - overlap)))
        count = next(number for number in range(own) if number * step + side >= own) + 1
        starts.append([min(number * step, own - side) for number in range(count)])
    return [
        tuple(slice(start, start + side) for start, side in zip(corner, patch, strict=True))
        for corner in product(*starts)
    ]


def gaussian(patch: Sequence[int]) -> np.ndarray:
    """Weights of a patch's voxels, float32."""
    bells = []
    for side in patch:
        places = np.arange(side, dtype=np.float32) - (side - 1) / 2
        bells.append(np.exp(-(places**2) / (2 * (side * SIGMA) ** 2)).astype(np.float32))
    bell = reduce(np.multiply.outer, bells)
    return bell.clip(min=max(float(bell.min()), LEAST))
