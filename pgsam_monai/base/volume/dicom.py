"""A DICOM series, one file per slice, in one folder. `pgsam_monai.base.dicom` refuses what can't be read rightly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.dicom.series import LPS_TO_RAS, DicomError, Series
from pgsam_monai.base.dicom.series import read_series as find_series
from pgsam_monai.base.regular import why_no_file
from pgsam_monai.base.volume.limits import require_memory
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, spacing_of, usable_affine

_DECODER = "GDCMImageIO"
"""of ITK's readers the only one that is asked, whatever a file may look like"""


def read_series(folder: Path) -> Volume:
    """Read the DICOM series in `folder`, slices in the order of their positions.

    Raises ReadError when the folder holds no series or several, or slices that make no even, straight volume.
    """
    found = _series(folder)
    files = [str(file) for file in found.files]
    with _quiet_itk(folder) as sitk:
        if len(files) == 1:
            image = sitk.ReadImage(files[0], imageIO=_DECODER)
        else:
            kind = sitk.sitkFloat32 if found.has_own_scales else sitk.sitkUnknown
            image = sitk.ReadImage(files, kind, _DECODER)
        array, parts = sitk.GetArrayFromImage(image), image.GetNumberOfComponentsPerPixel()
        affine, more = _affine(image, folder)
    if image.GetSize()[:2] != found.shape[:2]:
        raise ReadError(folder, f"its pixels are {image.GetSize()[:2]}, its headers say {found.shape[:2]}")
    parts_first = np.moveaxis(array, -1, 0) if parts > 1 else array
    voxels = parts_first.reshape((-1, *_shape(image.GetSize())[::-1])).transpose(0, 3, 2, 1)
    if voxels.dtype == np.float64:  # rescaled from 16 bits at most
        voxels = voxels.astype(np.float32)
    return Volume(voxels=voxels, affine=affine, spacing=spacing_of(affine), notes=(*found.notes, *more))


def read_series_geometry(folder: Path) -> Geometry:
    """Geometry of a DICOM series from the headers of its slices. Raises ReadError."""
    found = _series(folder)
    with _quiet_itk(folder) as sitk:
        header = sitk.ImageFileReader()
        header.SetImageIO(_DECODER)
        header.SetFileName(str(found.files[0]))
        header.ReadImageInformation()
        parts = header.GetNumberOfComponents()
        example = sitk.Image([1, 1], header.GetPixelID(), parts if parts > 1 else 0)
        dtype = sitk.GetArrayViewFromImage(example).dtype
        single = len(found.files) == 1
        affine, more = _affine(header, folder) if single else (np.asarray(found.affine), [])
    if not single:
        affine, more = usable_affine(affine, found.shape, folder)
    return Geometry(
        shape=_shape(header.GetSize()) if single else found.shape,
        channels=parts,
        affine=affine,
        spacing=spacing_of(affine),
        dtype=np.dtype(np.float32) if dtype == np.float64 or found.has_own_scales else dtype,
        notes=(*found.notes, *more),
    )


def _series(folder: Path) -> Series:
    """The series, which has room in memory."""
    if not folder.is_dir() and (reason := why_no_file(folder)):
        raise ReadError(folder, reason)
    try:
        found = find_series(folder)
    except DicomError as error:
        raise ReadError(folder, str(error)) from error
    header = found.slices[0].header
    bits = int(header.get("BitsAllocated") or 16)
    samples = int(header.get("SamplesPerPixel") or 1)
    require_memory(folder, (*found.shape, samples), np.dtype(f"V{max(bits // 8, 1)}"))
    return found


@contextlib.contextmanager
def _quiet_itk(file: Path) -> Iterator[Any]:
    """SimpleITK, its own warnings off (they'd repeat our notes on stderr), its errors as ReadError."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield sitk
    except (RuntimeError, OSError) as error:
        raise ReadError(file, _cause(error)) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _shape(size: tuple[int, ...]) -> tuple[int, int, int]:
    i, j, k = (*size, 1)[:3]
    return i, j, k


def _affine(image: Any, file: Path) -> tuple[np.ndarray, list[str]]:
    """RAS+ affine of an ITK image or reader with 2 or 3 axes; a missing axis points along +z, 1 mm apart."""
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))
    affine = np.eye(4)
    affine[:axes, :axes] = direction * np.array(image.GetSpacing())
    affine[:axes, 3] = image.GetOrigin()
    return usable_affine(LPS_TO_RAS @ affine, _shape(image.GetSize()), file)


def _cause(error: Exception) -> str:
    """The telling last line of an ITK error, without its source location."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else "unknown error"
    return f"unreadable or truncated: {text.split('ERROR: ')[-1].split('): ')[-1]}"
