"""NRRD, MetaImage and what else SimpleITK reads, in nibabel's frame: axes i, j, k and RAS+."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.dicom.series import LPS_TO_RAS
from pgsam_monai.base.volume.metaimage import check_voxels
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, spacing_of, usable_affine


def read_itk(file: Path) -> Volume:
    """Read one NRRD or MetaImage file; vector parts or a fourth axis are channels. Raises ReadError."""
    with quiet_itk(file) as sitk:
        inflated = check_voxels(file) if file.suffix.lower() in (".mha", ".mhd") else None
        if inflated is None:
            return itk_volume(sitk, sitk.ReadImage(str(file)), file)
        header = _read_header(sitk, file)
        flat, parts = np.frombuffer(inflated, _dtype(sitk, header)), header.GetNumberOfComponents()
        shape = header.GetSize()[::-1]
        return _volume(header, flat.reshape(*shape, parts) if parts > 1 else flat.reshape(shape), parts, file)


def read_itk_geometry(file: Path) -> Geometry:
    """Read the header only. Raises ReadError."""
    with quiet_itk(file) as sitk:
        header = _read_header(sitk, file)
        size, dtype = header.GetSize(), _dtype(sitk, header)
        affine, notes = _affine(header, file)
    return Geometry(
        shape=_shape(size),
        channels=header.GetNumberOfComponents() * (size[3] if len(size) > 3 else 1),
        affine=affine,
        spacing=spacing_of(affine),
        dtype=dtype,
        notes=tuple(notes),
    )


@contextlib.contextmanager
def quiet_itk(file: Path) -> Iterator[Any]:
    """SimpleITK, its own warnings off (they'd repeat our notes on stderr), its errors as ReadError."""
    import SimpleITK as sitk

    if not file.exists():
        raise ReadError(file, "the file does not exist")
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield sitk
    except (RuntimeError, OSError) as error:
        raise ReadError(file, _cause(error)) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def itk_volume(sitk: Any, image: Any, file: Path, notes: tuple[str, ...] = ()) -> Volume:
    """A SimpleITK image as Volume; `notes` come before its own."""
    return _volume(image, sitk.GetArrayFromImage(image), image.GetNumberOfComponentsPerPixel(), file, notes)


def _volume(header: Any, array: np.ndarray, parts: int, file: Path, notes: tuple[str, ...] = ()) -> Volume:
    """The array of a SimpleITK image, (k, j, i) with its `parts` last, as Volume."""
    affine, more = _affine(header, file)
    parts_first = np.moveaxis(array, -1, 0) if parts > 1 else array
    voxels = parts_first.reshape((-1, *_shape(header.GetSize())[::-1])).transpose(0, 3, 2, 1)
    return Volume(voxels=voxels, affine=affine, spacing=spacing_of(affine), notes=(*notes, *more))


def _read_header(sitk: Any, file: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return reader


def _dtype(sitk: Any, header: Any) -> np.dtype:
    parts = header.GetNumberOfComponents()
    return sitk.GetArrayViewFromImage(
        sitk.Image([1, 1], header.GetPixelID(), parts if parts > 1 else 0)
    ).dtype


def _shape(size: tuple[int, ...]) -> tuple[int, int, int]:
    i, j, k = (*size, 1)[:3]
    return i, j, k


def _affine(image: Any, file: Path) -> tuple[np.ndarray, list[str]]:
    """RAS+ affine of an ITK image or reader with 2 to 4 axes; a missing axis points along +z, 1 mm apart."""
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))
    used = min(axes, 3)
    affine = np.eye(4)
    affine[:used, :used] = direction[:used, :used] * np.array(image.GetSpacing())[:used]
    affine[:used, 3] = image.GetOrigin()[:used]
    return usable_affine(LPS_TO_RAS @ affine, _shape(image.GetSize()), file)


def _cause(error: Exception) -> str:
    """The telling last line of an ITK error, without its source location."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else "unknown error"
    return f"unreadable or truncated: {text.split('ERROR: ')[-1].split('): ')[-1]}"
