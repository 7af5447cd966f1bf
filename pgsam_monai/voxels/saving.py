"""Writes label maps on the grid and in the kind of file that the input came in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import ITK_SUFFIXES, NIFTI_SUFFIXES, as_paths, file_format, file_suffix
from pgsam_monai.base.dicom.series import LPS_TO_RAS
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import scratch
from pgsam_monai.base.volume import read_geometry
from pgsam_monai.base.volume.headed import read_header


def save_label_map(
    labels: np.ndarray, folder: str | Path, name: str, source: str | Path, *, affine: np.ndarray | None = None
) -> Path:
    """Integer labels (i, j, k) -> <folder>/<name><suffix>, geometry from the `source` file; returns the path.

    affine (4, 4) voxel -> mm RAS+ serves where the source has no copyable header (DICOM, archives).
    """
    folder = Path(folder)
    suffix = file_suffix(source)
    kind = file_format(source)
    file = folder / f"{name}{prediction_suffix(source)}"
    if file.exists() and Path(source).exists() and file.samefile(source):
        raise UserFault(f"The label map of '{source}' would replace it; choose another folder or name.")
    with scratch(folder) as made:
        path = made / file.name
        if kind == "picture":
            _write_picture(labels, path)
        elif suffix in ITK_SUFFIXES:
            _write_itk(labels, path, source)
        elif suffix in NIFTI_SUFFIXES:
            _write_nifti_like(labels, path, source)
        else:
            _write_nifti(labels, path, affine)
        # the file a reader opens is moved last, after the raw data that detached headers point to
        for part in sorted(made.iterdir(), key=lambda part: part == path):
            os.replace(part, folder / part.name)
    return file


def prediction_suffix(source: str | Path) -> str:
    """The suffix of the label map that belongs to an input file."""
    suffix = file_suffix(source)
    return ".png" if file_format(source) == "picture" else suffix if suffix in ITK_SUFFIXES else ".nii.gz"


def _write_nifti_like(labels: np.ndarray, path: Path, source: str | Path) -> None:
    import nibabel as nib

    read_geometry(as_paths(source)[0])  # refuses what nibabel would trust
    header = _nifti_header(as_paths(source)[0])
    labels = _on_shape(labels, header.get_data_shape()[:3], source)
    affine = header.get_best_affine()
    header.set_data_dtype(labels.dtype)
    header["cal_min"] = header["cal_max"] = 0  # display window of the image, not of its labels
    kind = (
        nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    )  # pairs become one file
    nib.save(kind(labels, affine, header), path)


def _nifti_header(file: Path) -> Any:
    """The header of a file that was read; where its voxels lie and its extensions are its own, and may be damaged."""
    import nibabel as nib
    from nibabel.openers import ImageOpener

    with ImageOpener(str(file)) as stream:
        start = stream.read(nib.Nifti2Header.template_dtype.itemsize)
    is_second = nib.Nifti2Header.may_contain_header(start)
    kind = nib.Nifti2Header if is_second else nib.Nifti1Header
    header = kind(start[: kind.template_dtype.itemsize], check=False)
    header["vox_offset"] = 0
    header.check_fix()
    return header


def _write_nifti(labels: np.ndarray, path: Path, affine: np.ndarray | None) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(labels, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _write_itk(labels: np.ndarray, path: Path, source: str | Path) -> None:
    import SimpleITK as sitk

    file = as_paths(source)[0]
    geometry = read_geometry(file)
    lps = LPS_TO_RAS @ geometry.affine
    is_flat = len(read_header(file).size) == 2 and not lps[2, :2].any()
    dims = 2 if is_flat else 3  # one slice that stands upright in space has no directions in two dimensions
    labels = _on_shape(labels, geometry.shape[:dims], source)
    image = sitk.GetImageFromArray(np.ascontiguousarray(labels.T))
    image.SetOrigin(lps[:dims, 3].tolist())
    image.SetSpacing(geometry.spacing[:dims])
    image.SetDirection((lps[:dims, :dims] / geometry.spacing[:dims]).ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_picture(labels: np.ndarray, path: Path) -> None:
    from PIL import Image

    flat = labels[..., 0]
    if flat.dtype.itemsize > 2:
        flat = np.stack([flat >> 16 & 255, flat >> 8 & 255, flat & 255], axis=-1).astype(np.uint8)
    Image.fromarray(flat).save(path)


def _on_shape(labels: np.ndarray, shape: tuple[int, ...], source: str | Path) -> np.ndarray:
    """(i, j, k) -> the input's own shape, which may lack the last axis."""
    expected = (*shape, *(1,) * (3 - len(shape)))
    if labels.shape != expected:
        raise UserFault(
            f"SavePredictiond: label map {labels.shape} and input {source} {expected} differ in shape;"
            " put Invertd with the preprocessing before it."
        )
    return labels.reshape(shape)
