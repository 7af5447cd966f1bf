"""Voxels as text of a page: exact, small, and quick to unpack in a browser.

Grey values are whole numbers of up to 16 bit, packed in slabs of slices: each voxel less the mean of its left and upper
neighbours, the low bytes before the high ones, gzip, base64. Of a noisy CT of 512 x 512 x 200 this makes 52 MB in 1 s,
where gzip alone (level 6) makes 77 MB in 13 s and slices as 8-bit PNG would lose the lung or the soft tissue. Browsers
unpack it with `DecompressionStream`, which needs no library and works in a page that was opened from disk. The slab
that is shown first is unpacked first. Label maps are indices of classes, gzip, base64: about 1 % of that.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np

try:
    from isal import igzip as gzip  # packs 10 x faster than zlib; an optional package
except ImportError:
    import gzip

SLAB_VOXELS = 2**22
"""Voxels that are unpacked at a time, about."""
MAX_CODE = 2**16 - 1
FINENESS = 2000
"""Steps within the middle 99 % of grey values that are rounded."""
SAMPLED_VOXELS = 2**21
"""Percentiles are taken of about so many voxels."""


def sampled(volume: np.ndarray) -> np.ndarray:
    """Some of the finite values of a volume, in one dimension, evenly spread; at least one."""
    flat = volume.reshape(-1)[:: max(1, volume.size // SAMPLED_VOXELS)]
    finite = flat[np.isfinite(flat)]
    return finite if finite.size else np.zeros(1, volume.dtype)


def grey_scale(volume: np.ndarray) -> tuple[float, float]:
    """(low, step) of the codes 0 to 65535 that stand for grey values: value = low + code * step.

    Whole numbers that span no more than that keep their values exactly. Others are rounded to steps of a 2000th of
    their middle 99 %; outliers farther away than ten times that range may be cut off.
    """
    finite = np.isfinite(volume)
    low = float(volume.min(where=finite, initial=np.inf)) if finite.any() else 0.0
    high = float(volume.max(where=finite, initial=-np.inf)) if finite.any() else 0.0
    values = sampled(volume)
    if high - low <= MAX_CODE and np.array_equal(values, np.rint(values)) and _whole(volume, finite):
        return low, 1.0
    first, last = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    span = last - first if last > first else high - low
    return max(low, first - 10 * span), span / FINENESS or 1.0


def _whole(volume: np.ndarray, finite: np.ndarray) -> bool:
    return volume.dtype.kind in "biu" or all(
        np.array_equal(np.rint(part[where]), part[where]) for part, where in zip(volume, finite, strict=True)
    )


def grey_codes(volume: np.ndarray, low: float, step: float) -> np.ndarray:
    """Codes uint16 of grey values, any shape; values without a number become the lowest."""
    codes = np.rint((volume.astype(np.float32) - np.float32(low)) / np.float32(step))
    codes[~np.isfinite(codes)] = 0
    return np.clip(codes, 0, MAX_CODE).astype(np.uint16)


def slab_slices(shape: tuple[int, int, int]) -> int:
    """Slices of one slab; `shape` (x, y, z)."""
    return max(1, SLAB_VOXELS // (shape[0] * shape[1]))


def pack_grey(volume: np.ndarray, low: float, step: float, slices: int) -> Iterator[str]:
    """The slabs of a volume (z, y, x) of grey values, `slices` each, as text."""
    for first in range(0, len(volume), slices):
        codes = grey_codes(volume[first : first + slices], low, step)
        yield pack_text(_bytes_of(_differences(codes)))


def pack_labels(indices: np.ndarray) -> str:
    """A map (z, y, x) of classes' indices, uint8 or uint16, as text."""
    return pack_text(indices.astype(indices.dtype.newbyteorder("<")).tobytes())


def pack_text(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 1)).decode("ascii")


def _differences(codes: np.ndarray) -> np.ndarray:
    """uint16 (z, y, x) -> uint16: 0, -1, 1, -2, … as 0, 1, 2, 3, … of each voxel less what its neighbours foretell."""
    foretold = np.zeros_like(codes)
    foretold[:, 0, 1:] = codes[:, 0, :-1]
    foretold[:, 1:, 0] = codes[:, :-1, 0]
    foretold[:, 1:, 1:] = (codes[:, 1:, :-1].astype(np.uint32) + codes[:, :-1, 1:]) >> 1
    signed = (codes - foretold).view(np.int16)  # modulo 65536, as the page adds it up again
    return ((signed << 1) ^ (signed >> 15)).view(np.uint16)


def _bytes_of(values: np.ndarray) -> bytes:
    """uint16 values -> all low bytes, then all high bytes."""
    pairs = np.ascontiguousarray(values, dtype="<u2").reshape(-1).view(np.uint8).reshape(-1, 2)
    return pairs.T.tobytes()


CT_WINDOWS = {"Soft tissue": (-160, 240), "Lung": (-1350, 150), "Bone": (-500, 1300), "Brain": (0, 80)}
"""In Hounsfield units."""
PERCENTILES = {"1–99 %": (1, 99), "10–95 %": (10, 95)}
AIR_HU = -500
"""Only CT has values below: air is -1000."""


def find_windows(
    volume: np.ndarray, *, given: tuple[float, float] | None = None, colour: bool = False
) -> list[tuple[str, float, float]]:
    """(name, low, high) of the windows that a page offers, the first of which it opens with.

    Args:
        volume: grey values or, with `colour`, colours.
        given: of the bundle or the user, the first one then.
    """
    values = sampled(volume)
    low, high = float(values.min()), float(values.max())
    windows = [] if given is None else [("Given", float(given[0]), float(given[1]))]
    if colour:
        return [*windows, ("As stored", 0.0, 255.0)]
    if low <= AIR_HU:
        windows += [(name, float(first), float(last)) for name, (first, last) in CT_WINDOWS.items()]
    for name, shares in PERCENTILES.items():
        first, last = (float(value) for value in np.percentile(values, shares))
        windows += [(name, first, last)] if last > first else []
    return [*windows, ("All", low, high if high > low else low + 1)]
