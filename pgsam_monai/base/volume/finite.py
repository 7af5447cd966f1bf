"""Values that are no numbers: planner and networks refuse them alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.records import ReadError

REMEDY = "replace them by the background value (numpy.nan_to_num) and save the image again"
_AT_ONCE = 1 << 18
"""values: what is tried at once stays in the processor's cache"""


def check_finite(voxels: np.ndarray, files: Sequence[Path]) -> None:
    """Raises ReadError, which counts the NaN and infinite values of (channels, i, j, k), if there are any."""
    for number, channel in enumerate(voxels):
        flat = channel.reshape(-1, order="A")
        if all(np.isfinite(flat[at : at + _AT_ONCE]).all() for at in range(0, flat.size, _AT_ONCE)):
            continue
        nan = int(np.count_nonzero(np.isnan(flat)))
        infinite = int(np.count_nonzero(np.isinf(flat)))
        file = files[number] if len(files) == len(voxels) else files[0]
        where = f" in channel {number}" if len(voxels) > 1 else ""
        found = f"{found_not_finite(nan, infinite)} of {flat.size} voxels{where}"
        raise ReadError(file, f"{found}; {REMEDY}")


def found_not_finite(nan: int, infinite: int) -> str:
    """ "3 NaN and 2 infinite": the start of a sentence on voxels."""
    return " and ".join(f"{count} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count)
