"""Volumes in another orientation: views, nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def oriented(voxels: np.ndarray, affine: np.ndarray, axcodes: str) -> np.ndarray:
    """A view of voxels (..., i, j, k) whose last axes point as `axcodes` says, such as "PLS"; "": as they are.

    What is written into the view stands in the volume's own orientation, so that there is no way back to go.

    Args:
        voxels: of any type.
        affine: (4, 4) voxel -> mm RAS+. As MONAI's Orientationd, an oblique axis counts for the nearest of the body's.
        axcodes: of rows, columns and slices.
    """
    if not axcodes:
        return voxels
    target, direction = _turn(affine, axcodes)
    flips = tuple(slice(None, None, step) for step in direction)
    first = voxels.ndim - 3
    return voxels[(..., *flips)].transpose(*range(first), *(first + place for place in target))


def along_axes(values: Sequence[float], affine: np.ndarray, axcodes: str) -> list[float]:
    """What is said of i, j and k, such as the spacing, in the order of the oriented axes."""
    return [values[place] for place in _turn(affine, axcodes)[0]] if axcodes else list(values)


def _turn(affine: np.ndarray, axcodes: str) -> tuple[list[int], list[int]]:
    """Which of i, j, k each oriented axis is, and 1 or -1 for each of i, j, k, which are flipped first."""
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    target, direction = ornt_transform(io_orientation(affine), axcodes2ornt(axcodes)).T
    return np.argsort(target).tolist(), direction.astype(int).tolist()
