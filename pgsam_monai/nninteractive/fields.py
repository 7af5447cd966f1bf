"""What requests of both versions of the protocol hold, checked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import limit_bytes, why_limited
from pgsam_monai.base.volume.limits import VALUE_BYTES
from pgsam_monai.label.faults import RequestFault, short

FARTHEST = 1 << 31
"""voxels; boxes may reach beyond the image"""


def require_room(what: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Raises UserFault: `what`, of that shape and type, takes more memory than `--max_gb` allows."""
    needed, limit = math.prod(shape) * max(dtype.itemsize, VALUE_BYTES), limit_bytes()
    if needed > limit:
        raise UserFault(
            f"{what} takes {needed / 1e9:.3g} GB, and the limit is {limit / 1e9:.2g} GB{why_limited()}; crop it, or "
            "start the server with a larger --max_gb."
        )


def json_object(text: bytes | str) -> dict[str, Any]:
    """Raises RequestFault: no JSON, or no object."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise RequestFault("A JSON object is needed.")
    return said


def voxel_of(given: Any, name: str) -> tuple[int, int, int]:
    """Raises RequestFault: not three whole numbers."""
    if (
        not isinstance(given, list)
        or len(given) != 3
        or any(isinstance(at, bool) or not isinstance(at, int) or abs(at) > FARTHEST for at in given)
    ):
        raise RequestFault(f"{name} takes three whole numbers [z, y, x], got {short(given)}.", status=422)
    return tuple(given)
