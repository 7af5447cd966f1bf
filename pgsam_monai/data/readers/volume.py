"""Volumes: NIfTI, NRRD, MetaImage, DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import NIFTI_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from pgsam_monai.base.dicom.headers import is_dicom_file
from pgsam_monai.base.dicom.series import DicomError, read_series
from pgsam_monai.data.readers.base import CaseReader, ReadError

try:
    from isal import igzip  # inflates 2-3 x faster than zlib; an optional package
except ImportError:
    igzip = None

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class VolumeReader(CaseReader):
    """NIfTI through nibabel; NRRD, MHA/MHD and DICOM (a series folder or one file) through SimpleITK."""

    suffixes = (*VOLUME_SUFFIXES, "")

    def load(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if not path.exists():
            raise ReadError("does not exist.")
        return _load_nifti(path) if file_suffix(path) in NIFTI_SUFFIXES else _load_itk(path)


def _load_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel as nib

    image = nib.load(path)
    if file_suffix(path) != ".nii.gz" or igzip is None:
        return _voxels(image), usable_affine(image.affine, image.shape)
    with igzip.open(path) as stream:
        image = type(image).from_stream(stream)
        return _voxels(image), usable_affine(image.affine, image.shape)


def _voxels(image: Any) -> np.ndarray:
    """(c, i, j, k); colours, stored as three or four bytes a voxel, become channels."""
    array = np.asanyarray(image.dataobj)
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
    return _channels_first(array)


def usable_affine(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The affine (4, 4), 1 mm across the plane where a single slice has no extent; ReadError if singular."""
    affine = np.array(affine, dtype=np.float64)
    flat = [axis for axis in range(3) if not affine[:3, axis].any()]
    if len(flat) == 1 and (*shape, 1, 1)[flat[0]] == 1:
        across = np.cross(affine[:3, (flat[0] + 1) % 3], affine[:3, (flat[0] + 2) % 3])
        affine[:3, flat[0]] = across / max(np.linalg.norm(across), np.finfo(float).tiny)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < np.finfo(np.float32).tiny:
        raise ReadError("the affine is singular or not finite; set a valid orientation in the header.")
    return affine


def _channels_first(array: np.ndarray) -> np.ndarray:
    """(i, j), (i, j, k) or (i, j, k, …, c) -> (c, i, j, k)."""
    if array.ndim < 2:
        raise ReadError(f"has shape {array.shape}, a volume needs at least two axes.")
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = array.squeeze(3 + array.shape[3:].index(1))
    if array.ndim > 4:
        raise ReadError(f"has shape {array.shape}; at most (i, j, k, channels) is understood.")
    if array.ndim == 4:
        return np.moveaxis(array, -1, 0)
    return array[None, ..., None] if array.ndim == 2 else array[None]


def _load_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    files, kind = _itk_files(path)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # the planner's checks tell of uneven slices, once
    try:
        image = sitk.ReadImage(files, kind)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0).T  # (c, k, j, i) -> (i, j, k, c)
    else:
        array = array.T
    return _channels_first(array), usable_affine(itk_affine(image), image.GetSize())


def _itk_files(path: Path) -> tuple[str | list[str], int]:
    """What SimpleITK reads, and as which type. Raises ReadError for DICOM that makes no even, straight volume."""
    import SimpleITK as sitk

    if not (path.is_dir() or file_suffix(path) == ".dcm" or is_dicom_file(path)):
        return str(path), sitk.sitkUnknown
    try:
        series = read_series(path)
    except DicomError as error:
        raise ReadError(f"{error}.") from error
    files = [str(file) for file in series.files]
    kind = sitk.sitkFloat32 if series.has_own_scales else sitk.sitkUnknown
    return (files[0] if len(files) == 1 else files), kind


def itk_affine(image: Any) -> np.ndarray:
    """Voxel -> world mm (RAS+) affine (4, 4) of a SimpleITK image or file reader of 2 to 4 dimensions."""
    dims = image.GetDimension()
    size = min(dims, 3)
    direction = np.asarray(image.GetDirection()).reshape(dims, dims)[:size, :size]
    affine = np.eye(4)
    affine[:size, :size] = direction @ np.diag(image.GetSpacing()[:size])
    affine[:size, 3] = image.GetOrigin()[:size]
    return LPS_TO_RAS @ affine
