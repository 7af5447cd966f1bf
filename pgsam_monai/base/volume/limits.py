"""How large an image may be: by `--max_gb`, or by the free memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import free_memory_bytes
from pgsam_monai.base.volume.records import ReadError

VARIABLE = "PGSAM_MAX_GB"
"""environment variable that carries the limit to whatever processes a command starts"""
SHARE = 0.25
"""of the free memory that one image may take: working with it takes several times that"""
VALUE_BYTES = 4
"""of a voxel in memory, where it isn't stored wider: networks take float32"""
DEFLATED = 1032
"""bytes that deflate can make of one, at most"""


def set_limit(max_gb: object) -> None:
    """Set the limit, in GB, of this process and of those that it starts; None leaves the default.

    Raises:
        UserFault: no number above 0.
    """
    if max_gb is not None:
        os.environ[VARIABLE] = str(_gigabytes(max_gb, "--max_gb"))


def limit_bytes() -> float:
    """Bytes that the voxels of one image may take; infinite where neither user nor system say anything."""
    if given := os.environ.get(VARIABLE):
        return _gigabytes(given, VARIABLE) * 1e9
    free = free_memory_bytes()
    return math.inf if free is None else free * SHARE


def _gigabytes(given: object, name: str) -> float:
    try:
        number = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(given, bool) or not 0 < number < math.inf:
        raise UserFault(f"{name} is how many GB one image may take, a number above 0; got {given!r}.")
    return number


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
    limit = limit_bytes()
    if needed > limit:
        why = "" if VARIABLE in os.environ else ", a quarter of the free memory"
        raise ReadError(
            file,
            f"it promises {needed / 1e9:.3g} GB of voxels, and the limit is {limit / 1e9:.2g} GB{why}; if the file "
            "is right, raise the limit with --max_gb",
        )


def require_stored(file: Path, promised: int, stored: int, *, packed: bool) -> None:
    """Raises ReadError when `stored` bytes can't hold the promised ones, were they packed as well as deflate can."""
    if promised > stored * (DEFLATED if packed else 1):
        raise ReadError(
            file, f"truncated: the header promises {promised} bytes of voxels, the file has {stored}"
        )
