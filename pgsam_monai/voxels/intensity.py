"""Grey values to 0…1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

AT_ONCE = 1 << 18
"""values that are counted at once"""


def scale_channel(channel: np.ndarray, low: float, high: float) -> np.ndarray:
    """One channel, any shape, whose `low` and `high` percentiles become 0 and 1 -> float32 in [0, 1]."""
    return scale_between(channel, *grey_range(channel, low, high))


def grey_range(channel: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Grey values of two percentiles; the lowest and the highest one where these coincide."""
    flat = channel.reshape(-1, order="A")  # in memory's order: no copy in another
    counted = flat.dtype.kind in "iu" and flat.dtype.itemsize <= 2
    bottom, top = (_percentiles_by_counting if counted else np.percentile)(flat, (low, high))
    if not top > bottom:  # more than 99 % one value (a mostly empty field): the full range, if there is one
        bottom, top = float(channel.min()), float(channel.max())
    return bottom, top


def _percentiles_by_counting(values: np.ndarray, percentages: Sequence[float]) -> list[float]:
    """As numpy.percentile, which sorts a copy: of 8 or 16 bits, how often each value occurs says as much."""
    least = int(values.min())
    counts = np.zeros(int(values.max()) - least + 1, np.int64)
    for start in range(0, len(values), AT_ONCE):
        part = np.bincount(values[start : start + AT_ONCE].astype(np.intp) - least)
        counts[: len(part)] += part
    ranks, found = counts.cumsum(), []
    for percentage in percentages:
        place = percentage / 100 * (len(values) - 1)
        lower, upper = np.searchsorted(ranks, [np.floor(place), np.ceil(place)], side="right") + least
        found.append(float(lower + (upper - lower) * (place % 1)))
    return found


def scale_between(channel: np.ndarray, bottom: float, top: float) -> np.ndarray:
    """Grey values -> float32 in [0, 1]; 0 where there is no range."""
    if not top > bottom:
        return np.zeros(channel.shape, dtype=np.float32)
    scaled = (channel - np.float32(bottom)) * np.float32(1 / (top - bottom))
    return np.clip(scaled, 0, 1, out=scaled)


def scale_window(voxels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Grey values of any shape and type -> float32 in [0, 1], as MONAI's ScaleIntensityRange scales and clips them."""
    scaled = (voxels.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0, 1, out=scaled)
