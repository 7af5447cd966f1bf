"""Grey values to 0…1."""

from __future__ import annotations

import numpy as np


def scale_channel(channel: np.ndarray, low: float, high: float) -> np.ndarray:
    """One channel, any shape, whose `low` and `high` percentiles become 0 and 1 -> float32 in [0, 1]."""
    return scale_between(channel, *percentiles_of(channel, low, high))


def percentiles_of(channel: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Grey values of two percentiles; the lowest and the highest one where these coincide."""
    bottom, top = np.percentile(
        channel.reshape(-1, order="A"), (low, high)
    )  # in memory's order: no copy in another
    if not top > bottom:  # more than 99 % one value (a mostly empty field): the full range, if there is one
        bottom, top = float(channel.min()), float(channel.max())
    return bottom, top


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
