"""A DICOM series as one volume: its slices in the order of their places, on the grid that readers give it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgsam_monai.base.dicom.headers import DicomError, Slice, read_slices
from pgsam_monai.base.dicom.refusals import check_kinds, is_inverted
from pgsam_monai.base.dicom.stacking import check_planes, check_stack, uneven_note

__all__ = ["DicomError", "Series", "read_series"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The slices of one series, sorted along the normal of their plane: the first file is voxel plane k = 0."""

    path: Path
    """folder of the slices, or the one file"""
    slices: tuple[Slice, ...]
    affine: np.ndarray | None
    """(4, 4) voxel (i, j, k) -> mm, RAS+, i along a row of pixels; None where a single image has no place"""
    notes: tuple[str, ...] = ()
    """oddities that were decided on the way, for the user"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i (columns), j (rows) and k (slices)."""
        header = self.slices[0].header
        return int(header.Columns), int(header.Rows), len(self.slices)

    @property
    def files(self) -> list[Path]:
        return [item.file for item in self.slices]

    @property
    def has_own_scales(self) -> bool:
        """Whether slices have scales of their own (PET): the first one's type then need not hold all values."""
        scales = {
            (float(item.header.get("RescaleSlope") or 1), float(item.header.get("RescaleIntercept") or 0))
            for item in self.slices
        }
        return len(scales) > 1


def read_series(path: str | Path) -> Series:
    """The one series of a folder, or of a single file; headers only.

    Raises:
        DicomError: no series or several, broken files, or slices that don't make a volume: many frames in a file,
            localizers, colour, screen captures, undecodable compression, slices without or at the same place,
            of several sizes or orientations, missing, or stacked at a slant (gantry tilt).
    """
    slices, notes = read_slices(Path(path))
    check_kinds(slices)
    if len(slices) > 1:
        check_planes(slices)
        slices = _sorted(slices)
        check_stack(slices)
        notes += uneven_note(slices)
    if any(is_inverted(item) for item in slices):
        notes.append("stored for inverted display (MONOCHROME1): the highest grey value becomes the lowest")
    return Series(path=Path(path), slices=tuple(slices), affine=_affine(slices), notes=tuple(notes))


def _sorted(slices: list[Slice]) -> list[Slice]:
    """Along the normal of the slices' plane, as GDCM sorts them too."""
    normal = slices[0].normal
    return sorted(slices, key=lambda item: (float(normal @ item.position), item.file.name))


def _affine(slices: list[Slice]) -> np.ndarray | None:
    first, last = slices[0], slices[-1]
    if first.position is None or first.directions is None or first.spacing is None:
        return None
    affine = np.eye(4)
    affine[:3, :2] = (first.directions * first.spacing[:, None]).T
    normal = first.normal
    if len(slices) > 1:
        affine[:3, 2] = normal * (normal @ (last.position - first.position)) / (len(slices) - 1)
    else:
        header = first.header
        affine[:3, 2] = normal * float(
            header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1
        )
    affine[:3, 3] = first.position
    return LPS_TO_RAS @ affine
