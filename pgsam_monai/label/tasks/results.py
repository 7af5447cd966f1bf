"""Label maps as clients want them: values, type and kind of file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import file_format
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.transforms.labels import label_indices, label_values
from pgsam_monai.transforms.save import prediction_suffix, save_label_map

NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".mha")
ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
"""What kinds of file in two parts are sent as."""
PICTURE_TYPES = ("uint8", "uint16", "int32")
TYPES = (*PICTURE_TYPES, "int8", "int16", "uint32", "float32", "float64")
SKEW = 1e-3
"""How far axes may be from right angles (cosine) in files that keep directions only."""


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """A label map on the image's own grid."""

    voxels: np.ndarray
    """(i, j, k) integers"""
    affine: np.ndarray
    """(4, 4) voxel -> mm RAS+"""
    source: str
    """the image's (first) file"""
    names: Sequence[str]
    """of the classes, the background first"""
    values: Sequence[int]
    """of the classes, in the order of `names`"""

    @property
    def label_names(self) -> dict[str, int]:
        """Foreground names -> values."""
        return dict(zip(self.names[1:], self.values[1:], strict=True))

    def consecutive(self) -> LabelResult:
        """The same with 1, 2, … K for the classes in their order, and 0 for the background."""
        values = list(range(len(self.values)))
        if list(self.values) == values:
            return self
        indices = label_indices(self.voxels, list(self.values))
        return replace(self, voxels=label_values(indices, values), values=values)

    def only(self, name: str) -> LabelResult:
        """One class alone; all else is background."""
        kept = (0, self.names.index(name))
        values = [self.values[index] for index in kept]
        voxels = np.where(self.voxels == values[1], self.voxels, self.voxels.dtype.type(values[0]))
        return replace(self, voxels=voxels, names=[self.names[index] for index in kept], values=values)

    def cast(self, dtype: str | None) -> LabelResult:
        """In another numpy type; None: as it is.

        Raises:
            RequestFault: unknown type, or one that doesn't hold the values.
        """
        if dtype is None:
            return self
        types = PICTURE_TYPES if file_format(self.source) == "picture" else TYPES
        if dtype not in types:
            raise RequestFault(
                f"result_dtype must be one of {', '.join(types)} for this image, got {dtype!r}."
            )
        wanted = np.dtype(dtype)
        if not _holds(wanted, self.values):
            raise RequestFault(
                f"result_dtype '{dtype}' does not hold the label values 0 to {max(self.values)}; use "
                f"'{self.voxels.dtype}', or leave it out.",
                status=422,
            )
        return replace(self, voxels=self.voxels.astype(wanted))

    def save(self, folder: Path, name: str) -> Path:
        """Write it as `pgsam predict` does; returns the file."""
        return save_label_map(self.voxels, folder, name, self.source, affine=self.affine)

    def send(self, extension: str | None = None) -> Path:
        """Write it to a temporary file, for the receiver to remove.

        Args:
            extension: ".nii.gz", ".nii", ".nrrd" or ".mha"; None for the kind of file that `pgsam predict` writes.

        Raises:
            RequestFault: an unknown kind, or one that can't hold this image's geometry.
        """
        suffix = self._suffix(extension)
        handle, name = tempfile.mkstemp(prefix="pgsam_", suffix=suffix)
        os.close(handle)
        path = Path(name)
        try:
            self._write(path, suffix)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _suffix(self, extension: str | None) -> str:
        own = prediction_suffix(self.source)
        own = ONE_FILE.get(own, own)
        if extension is None:
            return own
        wanted = extension if extension.startswith(".") else f".{extension}"
        kinds = (own,) if file_format(self.source) == "picture" else (*NIFTI, *ITK)
        if wanted not in kinds:
            raise RequestFault(
                f"result_extension '{extension}': this image's results come as {', '.join(kinds)}."
            )
        return wanted

    def _write(self, path: Path, suffix: str) -> None:
        if suffix == prediction_suffix(self.source):
            with tempfile.TemporaryDirectory(prefix="pgsam_") as folder:
                self.save(Path(folder), "result").replace(path)
        elif suffix in NIFTI:
            _write_nifti(self, path)
        else:
            _write_itk(self.voxels, self.affine, path)


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
