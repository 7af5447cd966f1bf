"""NRRD, MetaImage and what else SimpleITK reads, in nibabel's frame: axes i, j, k and RAS+."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.volume.metaimage import require_whole
from pgsam_monai.base.volume.records import Geometry, Volume, VolumeError, spacing_of, usable_affine

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(file: Path) -> Volume:
    """Read one NRRD or MetaImage file; vector parts or a fourth axis are channels. Raises VolumeError."""
    with quiet_itk(file) as sitk:
        if file.suffix.lower() in (".mha", ".mhd"):
            require_whole(file)
        image = sitk.ReadImage(str(file))
        return itk_volume(sitk, image, file, [])


def read_itk_geometry(file: Path) -> Geometry:
    """Read the header only. Raises VolumeError."""
    with quiet_itk(file) as sitk:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        size, parts = reader.GetSize(), reader.GetNumberOfComponents()
        affine, notes = _affine(reader, size, file)
        dtype = sitk.GetArrayViewFromImage(
            sitk.Image([1, 1], reader.GetPixelID(), parts if parts > 1 else 0)
        ).dtype
    shape = _shape(size)
    return Geometry(
        shape=shape,
        channels=parts * (size[3] if len(size) > 3 else 1),
        affine=affine,
        spacing=spacing_of(affine),
        dtype=dtype,
        notes=tuple(notes),
    )


@contextlib.contextmanager
def quiet_itk(file: Path) -> Iterator[Any]:
    """SimpleITK, its own warnings off (they'd repeat our notes on stderr), its errors as VolumeError."""
    import SimpleITK as sitk

    if not file.exists():
        raise VolumeError(file, "the file does not exist")
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield sitk
    except (RuntimeError, OSError) as error:
        raise VolumeError(file, _cause(error)) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def itk_volume(sitk: Any, image: Any, file: Path, notes: list[str]) -> Volume:
    """A SimpleITK image as Volume, axes reversed from SimpleITK's arrays."""
    affine, more = _affine(image, image.GetSize(), file)
    voxels = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.moveaxis(voxels, -1, 0)
    elif image.GetDimension() < 4:
        voxels = voxels[None]
    voxels = voxels.reshape((-1, *_shape(image.GetSize())[::-1])).transpose(0, 3, 2, 1)
    return Volume(voxels=voxels, affine=affine, spacing=spacing_of(affine), notes=(*notes, *more))


def _shape(size: tuple[int, ...]) -> tuple[int, int, int]:
    i, j, k = (*size, 1)[:3]
    return i, j, k


def _affine(image: Any, size: tuple[int, ...], file: Path) -> tuple[np.ndarray, list[str]]:
    """RAS+ affine of an ITK image or reader with 2 to 4 axes; a missing axis points along +z, 1 mm apart."""
    axes = len(size)
    direction = np.reshape(image.GetDirection(), (axes, axes))
    used = min(axes, 3)
    affine = np.eye(4)
    affine[:used, :used] = direction[:used, :used] * np.array(image.GetSpacing())[:used]
    affine[:used, 3] = image.GetOrigin()[:used]
    return usable_affine(LPS_TO_RAS @ affine, _shape(size), file)


def _cause(error: Exception) -> str:
    """The telling last line of an ITK error, without its source location."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else "unknown error"
    return f"unreadable or truncated: {text.split('ERROR: ')[-1].split('): ')[-1]}"
