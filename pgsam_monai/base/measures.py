"""What is measured of an image and of the structures in it, by planning and by predicting alike: so that the one can be
held against the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

AXES = ("left to right", "posterior to anterior", "inferior to superior")
"""The anatomical axes, in this order, in which positions rise."""
LOW, HIGH = PERCENTILES = (0.5, 99.5)
SAMPLED = 1 << 18
"""voxels that percentiles are read off, at most: ten times as quick as all of a CT's, and as good to 0.1 percentiles"""
Value = TypeVar("Value")


def to_anatomical(values: Sequence[Value], orientation: str) -> tuple[Value, ...]:
    """Per-axis `values` in voxel order (i, j, k) reordered to `AXES`; unchanged where `orientation` is ""."""
    if not orientation:
        return tuple(values)
    return tuple(values[_axis_of(orientation, codes)] for codes in ("LR", "PA", "IS"))


def relative_position(centroid: Sequence[float], shape: Sequence[int], orientation: str) -> tuple[float, ...]:
    """Where a centroid lies in its image, 0 to 1 along each of `AXES`.

    Args:
        centroid: voxels (i, j, k), whole numbers being the voxels' middles.
        shape: of the image, (i, j, k).
        orientation: axis codes such as "LPS", not "".
    """
    shares = [(at + 0.5) / size for at, size in zip(centroid, shape, strict=True)]
    rising = [1 - share if code in "LPI" else share for share, code in zip(shares, orientation, strict=True)]
    return to_anatomical(rising, orientation)


def percentiles_of(voxels: np.ndarray) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles of finite values (N,), N > 0; of many, those of `SAMPLED` that lie evenly apart.

    The step has no factor in common with N, so that it doesn't fall into step with the image's rows.
    """
    import numpy as np  # here, for a planning command line starts without it

    step = max(1, math.ceil(voxels.size / SAMPLED))
    while math.gcd(step, voxels.size) > 1:
        step += 1
    low, high = np.percentile(voxels[::step], PERCENTILES)
    return float(low), float(high)


def by_percentiles(value: float, ends: tuple[float, float]) -> float:
    """A grey value where those percentiles of its channel are 0 and 1; `ends` rise."""
    return (value - ends[0]) / (ends[1] - ends[0])


def _axis_of(orientation: str, codes: str) -> int:
    return next(axis for axis, code in enumerate(orientation) if code in codes)
