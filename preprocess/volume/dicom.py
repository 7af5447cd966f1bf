"""A DICOM series, one file per slice, in one folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..layouts.tree import is_dicom_file
from .itk import itk_volume, quiet_itk, read_itk_geometry
from .records import Geometry, Volume, VolumeError, spacing_of, usable_affine

GAP_TOLERANCE = 0.05
"""relative difference of neighbouring slice distances that counts as a gap"""
_POSITION_TAG = "0020|0032"


def read_series(folder: Path) -> Volume:
    """Read the DICOM series in `folder`, slices in the order of their positions.

    Raises VolumeError when the folder holds no series or several, or when a slice can't be read.
    """
    with quiet_itk(folder) as sitk:
        files, notes = _series_files(sitk, folder)
        if len(files) == 1:
            volume = itk_volume(sitk, sitk.ReadImage(files[0]), folder, notes)
        else:
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(files)
            reader.MetaDataDictionaryArrayUpdateOn()
            image = reader.Execute()
            volume = itk_volume(sitk, image, folder, notes + _gaps(reader, len(files)))
    if volume.voxels.dtype == np.float64:  # rescaled from 16 bits at most
        return replace(volume, voxels=volume.voxels.astype(np.float32))
    return volume


def read_series_geometry(folder: Path) -> Geometry:
    """Geometry of a DICOM series from the headers of its first and last slice. Raises VolumeError."""
    with quiet_itk(folder) as sitk:
        files, notes = _series_files(sitk, folder)
    first = read_itk_geometry(Path(files[0]))
    if len(files) == 1:
        return replace(first, notes=(*notes, *first.notes))
    last = read_itk_geometry(Path(files[-1]))
    affine = first.affine.copy()
    affine[:3, 2] = (last.affine[:3, 3] - first.affine[:3, 3]) / (len(files) - 1)
    shape = (first.shape[0], first.shape[1], len(files))
    affine, more = usable_affine(affine, shape, folder)
    return Geometry(
        shape=shape,
        channels=first.channels,
        affine=affine,
        spacing=spacing_of(affine),
        dtype=np.dtype(np.float32) if first.dtype == np.float64 else first.dtype,
        notes=(*notes, *more),
    )


def _series_files(sitk: Any, folder: Path) -> tuple[tuple[str, ...], list[str]]:
    """The slices in order, and notes on DICOM files that are no slices."""
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    files = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in series}
    if len(series) > 1:
        listed = "; ".join(f"{uid} ({len(names)} files)" for uid, names in files.items())
        raise VolumeError(
            folder, f"{len(series)} DICOM series in one folder: {listed}; give each its own folder"
        )
    slices = files[series[0]] if series else ()
    others = _others(folder, slices)
    broken = [file.name for file in others if not _is_no_image(file)]
    if broken:
        shown = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise VolumeError(
            folder, f"{len(broken)} DICOM files are truncated or unreadable ({shown}); copy them again"
        )
    if not slices:
        raise VolumeError(folder, "no DICOM series in this folder")
    return slices, [
        f"{file.name} holds no slice (a report, plan or structure set): left out" for file in others
    ]


def _others(folder: Path, slices: tuple[str, ...]) -> list[Path]:
    """DICOM files of the folder that aren't among `slices`; GDCM drops what it can't read without a word."""
    used = {Path(file).name for file in slices}
    rest = (file for file in folder.iterdir() if file.name not in used and not file.name.startswith("."))
    return sorted(file for file in rest if file.is_file() and is_dicom_file(file))


def _is_no_image(file: Path) -> bool:
    """Whether the file is a sound DICOM object without pixels."""
    import pydicom

    try:
        item = pydicom.dcmread(file, stop_before_pixels=True)
    except (OSError, ValueError, EOFError, pydicom.errors.InvalidDicomError):
        return False
    return "SOPClassUID" in item and "Rows" not in item


def _gaps(reader: Any, slices: int) -> list[str]:
    """A note when the distances between neighbouring slices differ: a slice is missing or doubled."""
    tagged = [n for n in range(slices) if reader.HasMetaDataKey(n, _POSITION_TAG)]
    if len(tagged) < slices or slices < 3:
        return []
    texts = [reader.GetMetaData(n, _POSITION_TAG) for n in tagged]
    positions = np.array([[float(value) for value in text.split("\\")] for text in texts])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    if steps.max() - steps.min() <= GAP_TOLERANCE * np.median(steps):
        return []
    at = int(np.argmax(np.abs(steps - np.median(steps))))
    return [
        f"slices are unevenly spaced ({steps.min():.3g} to {steps.max():.3g} mm, oddest after slice {at}): "
        "one may be missing or doubled; the mean distance is used"
    ]
