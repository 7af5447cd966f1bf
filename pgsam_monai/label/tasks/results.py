"""Label maps as clients want them: type and kind of file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import file_format
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.voxels.result import LabelResult
from pgsam_monai.voxels.saving import prediction_suffix

NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".mha")
ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
"""What kinds of file in two parts are sent as."""
PICTURE_TYPES = ("uint8", "uint16", "int32")
TYPES = (*PICTURE_TYPES, "int8", "int16", "uint32", "float32", "float64")
SKEW = 1e-3
"""How far axes may be from right angles (cosine) in files that keep directions only."""


def cast(result: LabelResult, dtype: str | None) -> LabelResult:
    """A result in another numpy type; None: as it is.

    Raises:
        RequestFault: unknown type, or one that doesn't hold the values.
    """
    if dtype is None:
        return result
    types = PICTURE_TYPES if file_format(result.source) == "picture" else TYPES
    if dtype not in types:
        raise RequestFault(f"result_dtype must be one of {', '.join(types)} for this image, got {dtype!r}.")
    wanted = np.dtype(dtype)
    if not _holds(wanted, result.values):
        raise RequestFault(
            f"result_dtype '{dtype}' does not hold the label values 0 to {max(result.values)}; use "
            f"'{result.voxels.dtype}', or leave it out.",
            status=422,
        )
    return replace(result, voxels=result.voxels.astype(wanted))


def send_file(result: LabelResult, extension: str | None = None) -> Path:
    """Write a result to a temporary file, for the receiver to remove.

    Args:
        extension: ".nii.gz", ".nii", ".nrrd" or ".mha"; None for the kind of file that `pgsam predict` writes.

    Raises:
        RequestFault: an unknown kind, or one that can't hold this image's geometry.
    """
    suffix = _suffix(result, extension)
    handle, name = tempfile.mkstemp(prefix="pgsam_", suffix=suffix)
    os.close(handle)
    path = Path(name)
    try:
        _write(result, path, suffix)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _suffix(result: LabelResult, extension: str | None) -> str:
    own = prediction_suffix(result.source)
    own = ONE_FILE.get(own, own)
    if extension is None:
        return own
    wanted = extension if extension.startswith(".") else f".{extension}"
    kinds = (own,) if file_format(result.source) == "picture" else (*NIFTI, *ITK)
    if wanted not in kinds:
        raise RequestFault(
            f"result_extension '{extension}': this image's results come as {', '.join(kinds)}."
        )
    return wanted


def _write(result: LabelResult, path: Path, suffix: str) -> None:
    if suffix == prediction_suffix(result.source):
        with tempfile.TemporaryDirectory(prefix="pgsam_") as folder:
            result.save(Path(folder), "result").replace(path)
    elif suffix in NIFTI:
        _write_nifti(result, path)
    else:
        _write_itk(result.voxels, result.affine, path)


def _holds(dtype: np.dtype, values: Sequence[int]) -> bool:
    """Whether a type holds all values exactly."""
    given = np.asarray(values, dtype=np.int64)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(limits.min <= given.min() and given.max() <= limits.max)
    return bool((given.astype(dtype).astype(np.int64) == given).all())


def _write_nifti(result: LabelResult, path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(result.voxels, result.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _write_itk(voxels: np.ndarray, affine: np.ndarray, path: Path) -> None:
    import SimpleITK as sitk

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > SKEW:
        raise RequestFault(
            f"result_extension '{path.suffix}': this image's axes are skewed, which only NIfTI holds; ask for .nii.gz.",
            status=422,
        )
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(directions.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)
