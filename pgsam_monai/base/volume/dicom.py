"""A DICOM series, one file per slice, in one folder. What can't be read rightly is refused by `pgsam_monai.dicom`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.dicom.series import DicomError, Series
from pgsam_monai.base.dicom.series import read_series as find_series
from pgsam_monai.base.volume.itk import itk_volume, quiet_itk, read_itk_geometry
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, spacing_of, usable_affine


def read_series(folder: Path) -> Volume:
    """Read the DICOM series in `folder`, slices in the order of their positions.

    Raises ReadError when the folder holds no series or several, or slices that make no even, straight volume.
    """
    found = _series(folder)
    files = [str(file) for file in found.files]
    with quiet_itk(folder) as sitk:
        if len(files) == 1:
            image = sitk.ReadImage(files[0])
        else:
            image = sitk.ReadImage(files, sitk.sitkFloat32 if found.has_own_scales else sitk.sitkUnknown)
        volume = itk_volume(sitk, image, folder, found.notes)
    if volume.voxels.dtype == np.float64:  # rescaled from 16 bits at most
        return replace(volume, voxels=volume.voxels.astype(np.float32))
    return volume


def read_series_geometry(folder: Path) -> Geometry:
    """Geometry of a DICOM series from the headers of its slices. Raises ReadError."""
    found = _series(folder)
    first = read_itk_geometry(found.files[0])
    if len(found.files) == 1:
        return replace(first, notes=(*found.notes, *first.notes))
    affine, more = usable_affine(np.asarray(found.affine), found.shape, folder)
    return Geometry(
        shape=found.shape,
        channels=first.channels,
        affine=affine,
        spacing=spacing_of(affine),
        dtype=np.dtype(np.float32) if first.dtype == np.float64 or found.has_own_scales else first.dtype,
        notes=(*found.notes, *more),
    )


def _series(folder: Path) -> Series:
    if not folder.exists():
        raise ReadError(folder, "the file does not exist")
    try:
        return find_series(folder)
    except DicomError as error:
        raise ReadError(folder, str(error)) from error
