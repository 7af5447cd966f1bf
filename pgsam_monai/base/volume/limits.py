"""Whether an image fits: the limit of `--max_gb`, and the file that should hold it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pgsam_monai.base.memory import is_set, limit_bytes, why_limited
from pgsam_monai.base.volume.records import ReadError

VALUE_BYTES = 4
"""of a voxel in memory, where it isn't stored wider: networks take float32"""
SMALL_BYTES = 32 << 20
"""What is smaller is let through unless somebody set a limit: to ask for the free memory takes as long as to read."""
DEFLATED = 1032
"""bytes that deflate can make of one, at most"""


def require_memory(file: Path, shape: Iterable[int], dtype: np.dtype) -> int:
    """Bytes of an array as it is stored.

    Raises:
        ReadError: an axis without voxels, or more voxels than the limit allows.
    """
    sizes = [int(size) for size in shape]
    if min(sizes, default=0) < 1:
        raise ReadError(file, f"an array of {' x '.join(map(str, sizes)) or 'no'} values holds no image")
    count = math.prod(sizes)
    require_bytes(file, count * max(dtype.itemsize, VALUE_BYTES))
    return count * dtype.itemsize


def require_bytes(file: Path, needed: int) -> None:
    """Raises ReadError when that many bytes are more than the limit."""
    if needed <= SMALL_BYTES and not is_set():
        return
    limit = limit_bytes()
    if needed > limit:
        raise ReadError(
            file,
            f"it promises {needed / 1e9:.3g} GB of voxels, and the limit is {limit / 1e9:.2g} GB{why_limited()}; if "
            "the file is right, raise the limit with --max_gb",
        )


def require_stored(file: Path, promised: int, stored: int, *, packed: bool) -> None:
    """Raises ReadError when `stored` bytes can't hold the promised ones, were they packed as well as deflate can."""
    if promised > stored * (DEFLATED if packed else 1):
        raise ReadError(
            file, f"truncated: the header promises {promised} bytes of voxels, the file has {stored}"
        )
