"""What requests of both versions of the protocol hold, checked."""

from __future__ import annotations

import json
from typing import Any

from pgsam_monai.label.faults import RequestFault, short

FARTHEST = 1 << 31
"""voxels; boxes may reach beyond the image"""


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
