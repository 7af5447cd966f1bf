"""Whether two grids of voxels lie in the same places."""

from __future__ import annotations

from itertools import product

import numpy as np

GRID_TOLERANCE = 0.1
"""voxels that a corner of one volume may lie off the other's, to be taken as one grid; headers are often rounded"""


def apart_mm(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance between a corner of a volume (i, j, k) by the one (4, 4) affine and by the other."""
    corners = np.array(
        [(*corner, 1) for corner in product(*((0, size - 1) for size in shape))], dtype=np.float64
    )
    moved = corners @ (np.asarray(affine) - np.asarray(other)).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())
