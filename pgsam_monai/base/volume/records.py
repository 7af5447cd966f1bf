"""The records of a read volume, the affine's arithmetic, and when two grids are one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from pgsam_monai.base.errors import UserFault


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """Voxels in the stored data type, with their geometry. A picture is one slice with the unit affine."""

    voxels: np.ndarray
    """(channels, i, j, k); memory order is the file's, so axis i usually varies fastest"""
    affine: np.ndarray
    """(4, 4) float64, voxel index -> mm, RAS+"""
    spacing: tuple[float, float, float]
    """mm along i, j, k: the norms of the affine's columns"""
    notes: tuple[str, ...] = ()
    """oddities of the file that were decided on the way, for the user"""
    overlaps: tuple[tuple[int, int, int], ...] = ()
    """of a label that was merged from masks: (value, larger value, voxels that both claim)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """What a header says, read without voxels."""

    shape: tuple[int, int, int]
    """voxels along i, j, k"""
    channels: int
    affine: np.ndarray
    """(4, 4) float64, voxel index -> mm, RAS+"""
    spacing: tuple[float, float, float]
    dtype: np.dtype
    """what read_volume would return"""
    notes: tuple[str, ...] = ()


_LONGEST_REASON = 400
"""characters: libraries quote what they couldn't read"""


class ReadError(UserFault):
    """A file that can't be read as a volume: which one, and why."""

    def __init__(self, file: str | Path, reason: str) -> None:
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} ..."
        super().__init__(f"{file}: {reason}" + ("" if reason.endswith(".") else "."))
        self.file = str(file)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Errors travel between worker processes."""
        return type(self), (self.file, self.reason)


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size in mm along i, j, k of a (4, 4) affine."""
    with np.errstate(over="ignore"):
        i, j, k = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return float(i), float(j), float(k)


def usable_affine(
    affine: np.ndarray, shape: tuple[int, int, int], file: Path
) -> tuple[np.ndarray, list[str]]:
    """`affine`, completed along a single-slice axis without extent. Raises ReadError if it is singular."""
    if not np.isfinite(affine).all():
        raise ReadError(file, "the affine holds NaN or Inf; set a valid orientation in the header")
    _check_lengths(affine, file)
    flat = [axis for axis in range(3) if not affine[:3, axis].any()]
    notes = []
    if len(flat) == 1 and shape[flat[0]] == 1:
        axis = flat[0]
        across = np.cross(affine[:3, (axis + 1) % 3], affine[:3, (axis + 2) % 3])
        length = np.linalg.norm(across)
        if length > 0:
            affine = affine.copy()
            affine[:3, axis] = across / length
            notes.append(f"the affine gives axis {'ijk'[axis]} (one voxel) no extent: 1 mm assumed")
    directions = affine[:3, :3] / np.maximum(spacing_of(affine), np.finfo(float).tiny)
    skew = abs(np.linalg.det(directions))
    if skew < _SINGULAR:
        raise ReadError(
            file, "the affine is singular (two axes are parallel or without extent); mend the header"
        )
    if skew < _ORTHOGONAL:
        notes.append(f"the axes are not orthogonal (volume of unit directions {skew:.4f}, 1 if orthogonal)")
    return affine, notes


def _check_lengths(affine: np.ndarray, file: Path) -> None:
    """Raises ReadError for voxels, or a place, of a size that no scanner gives; without extent is another matter."""
    # An axis has no extent where its column is 0; the length of a tiny one is 0 as well, which is no scan's.
    sizes = [size for axis, size in enumerate(spacing_of(affine)) if affine[:3, axis].any()]
    low, high = _VOXEL_MM
    if not all(low <= size <= high for size in sizes) or np.abs(affine[:3, 3]).max() > _FARTHEST_MM:
        shown = " x ".join(f"{size:.3g}" for size in spacing_of(affine))
        raise ReadError(
            file,
            f"its voxels of {shown} mm, at {', '.join(f'{mm:.3g}' for mm in affine[:3, 3])} mm, are no scan's; mend "
            "spacing and origin in the header",
        )


_VOXEL_MM = (1e-6, 1e5)
_FARTHEST_MM = 1e9
_SINGULAR = 1e-3
_ORTHOGONAL = 1 - 1e-4


GRID_TOLERANCE = 0.1
"""voxels that a corner of one volume may lie off the other's, to be taken as one grid; headers are often rounded"""


def apart_mm(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance between a corner of a volume (i, j, k) by the one (4, 4) affine and by the other."""
    corners = np.array(
        [(*corner, 1) for corner in product(*((0, size - 1) for size in shape))], dtype=np.float64
    )
    moved = corners @ (np.asarray(affine) - np.asarray(other)).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())


def require_one_grid(
    first: Volume, other: Volume, file: Path, first_file: Path, *, what: str = "channel"
) -> None:
    """Raises ReadError unless two channels, or masks, of a case lie on one grid."""
    if first.voxels.shape[1:] != other.voxels.shape[1:]:
        raise ReadError(
            file,
            f"{what} of shape {other.voxels.shape[1:]}, but {first_file.name} has {first.voxels.shape[1:]}; "
            f"resample the {what}s of a case to one grid",
        )
    apart = apart_mm(first.affine, other.affine, first.voxels.shape[1:])
    if apart > GRID_TOLERANCE * min(first.spacing):
        raise ReadError(
            file, f"{what} lies up to {apart:.3g} mm off {first_file.name}; resample them to one grid"
        )
