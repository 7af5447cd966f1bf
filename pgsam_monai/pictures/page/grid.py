"""How the voxels of a page, turned for display, lie in the voxels of the file."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

MAX_VOXELS = 2**26
"""What a page shows at most, all channels together (512 x 512 x 256); larger images are reduced."""
DISPLAY_CODES = ("L", "P", "S")
"""Where x, y and z of a page point: patient right is on the left, the front above, the head last."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A file's grid (i, j, k), turned to (z, y, x) for display."""

    file_shape: tuple[int, int, int]
    """voxels along i, j, k"""
    axes: tuple[int, int, int]
    """the file's axis along x, y and z"""
    flips: tuple[bool, bool, bool]
    """whether x, y and z run against that axis"""
    spacing: tuple[float, float, float]
    """mm along x, y and z; 1 where the file knows none"""
    affine: np.ndarray
    """(4, 4) voxel (i, j, k) -> mm, RAS+"""
    anatomical: bool
    """False for pictures and archives: they are shown as stored, i down and j to the right"""
    oblique_degrees: float
    """largest angle between an axis of the grid and the nearest axis of the body"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        return tuple(self.file_shape[axis] for axis in self.axes)

    def turn(self, array: np.ndarray) -> np.ndarray:
        """(i, j, k) -> (z, y, x), a view."""
        turned = array.transpose(self.axes[::-1])
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips[::-1])]

    def corners_mm(self) -> np.ndarray:
        """(8, 3) mm RAS+ of the corner voxels, in the order of (x, y, z)."""
        ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(self.shape) - 1)
        voxels = np.empty_like(ends)
        for n, axis in enumerate(self.axes):
            voxels[:, axis] = self.file_shape[axis] - 1 - ends[:, n] if self.flips[n] else ends[:, n]
        return nib.affines.apply_affine(self.affine, voxels)


def make_grid(shape: tuple[int, int, int], affine: np.ndarray, *, anatomical: bool) -> Grid:
    """The grid of a file of `shape` (i, j, k); `affine` (4, 4) voxel -> mm, RAS+."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes, flips, angle = (1, 0, 2), (False, False, False), 0.0
    if anatomical:
        stored = nib.orientations.io_orientation(affine)
        turn = nib.orientations.ornt_transform(stored, nib.orientations.axcodes2ornt(DISPLAY_CODES))
        axes = tuple(int(axis) for axis in np.argsort(turn[:, 0]))
        flips = tuple(bool(turn[axis, 1] < 0) for axis in axes)
        along = [abs(affine[int(stored[n, 0]), n]) / spacing[n] for n in range(3)]
        angle = float(np.degrees(np.arccos(np.clip(min(along), 0, 1))))
    return Grid(
        file_shape=tuple(int(size) for size in shape),
        axes=axes,
        flips=flips,
        spacing=tuple(float(spacing[axis]) for axis in axes),
        affine=np.asarray(affine, np.float64),
        anatomical=anatomical,
        oblique_degrees=angle,
    )


def reduction(
    shape: tuple[int, ...], spacing: tuple[float, ...], *, limit: int = MAX_VOXELS
) -> tuple[int, ...]:
    """Voxels of the file along (x, y, z) that become one of the page; all 1 up to `limit` voxels.

    The finest axes are halved first, so that voxels become more alike, not less.
    """
    factors = np.ones(len(shape), int)
    while np.prod(-(-np.array(shape) // factors)) > limit:
        steps = np.where(np.array(shape) > factors, factors * np.array(spacing), np.inf)
        factors[steps <= 1.01 * steps.min()] *= 2
    return tuple(int(factor) for factor in factors)


def reduce_grey(array: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Means of blocks: (z, y, x) float32 by `factors` along (x, y, z); blocks at the end may be smaller."""
    for axis, factor in enumerate(reversed(factors)):
        if factor > 1:
            starts = np.arange(0, array.shape[axis], factor)
            sizes = np.diff(np.append(starts, array.shape[axis])).astype(np.float32)
            blocks = np.add.reduceat(array, starts, axis=axis, dtype=np.float32)
            array = blocks / sizes.reshape([-1 if n == axis else 1 for n in range(array.ndim)])
    return array


def reduce_labels(array: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """The label in the middle of each block; (z, y, x) by `factors` along (x, y, z)."""
    for axis, factor in enumerate(reversed(factors)):
        size = array.shape[axis]
        middles = np.minimum(np.arange(0, size, factor) + factor // 2, size - 1)
        array = array if factor == 1 else array.take(middles, axis=axis)
    return array
