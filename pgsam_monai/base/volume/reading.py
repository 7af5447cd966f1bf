"""Chooses the reader by the file's name, joins channels, reads labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.archives import read_archive_geometry, read_archives
from pgsam_monai.base.volume.dicom import read_series, read_series_geometry
from pgsam_monai.base.volume.itk import read_itk, read_itk_geometry
from pgsam_monai.base.volume.nifti import read_nifti, read_nifti_geometry
from pgsam_monai.base.volume.pictures import read_mask, read_picture, read_picture_geometry
from pgsam_monai.base.volume.records import Geometry, Volume, VolumeError
from preprocess.layouts.records import Case
from preprocess.layouts.tree import ARCHIVE_ENDINGS, DICOM_ENDINGS, PICTURE_ENDINGS, ending_of

NIFTI_ENDINGS = (".nii.gz", ".nii", ".hdr", ".hdr.gz")
GRID_TOLERANCE = 0.1
"""distance between the grids of two channels, in voxels, above which they don't belong together"""


def read_volume(paths: Sequence[str | Path] | str | Path) -> Volume:
    """Read one image: a file per channel, one multi-channel file, a DICOM folder, or a case's archive slices.

    Voxels are (channels, i, j, k) in the stored type. Raises VolumeError naming the file, also when the
    channels of a case don't share one grid.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise VolumeError("(no file)", "a volume needs at least one file")
    if ending_of(files[0].name, ARCHIVE_ENDINGS):
        return read_archives(files, "image")
    volumes = [_read_one(file) for file in files]
    return volumes[0] if len(volumes) == 1 else _joined(volumes, files)


def read_label(case: Case, folder: str | Path) -> Volume:
    """Read the label of `case`, a member of the data set in `folder`: one channel, stored type.

    Palette masks give their indices; colours give red<<16 | green<<8 | blue. Raises VolumeError when the case
    has no label, it can't be read or has several channels.
    """
    folder = Path(folder)
    if case.label is None:
        raise VolumeError(case.name, "the case has no label")
    if case.label == "@images":
        return read_archives([folder / path for path in case.images], "label")
    file = folder / case.label
    if ending_of(file.name, PICTURE_ENDINGS):
        return read_mask(file)
    label = read_volume(file)
    if len(label.voxels) != 1:
        raise VolumeError(
            file,
            f"a label with {len(label.voxels)} channels (layers, one-hot or colour); export one label map",
        )
    return label


def read_geometry(path: str | Path) -> Geometry:
    """Shape, channels, affine and type of one file or DICOM folder, without voxels. Raises VolumeError."""
    file = Path(path)
    if file.is_dir() or ending_of(file.name, DICOM_ENDINGS):
        return read_series_geometry(file)
    if ending_of(file.name, NIFTI_ENDINGS):
        return read_nifti_geometry(file)
    if ending_of(file.name, PICTURE_ENDINGS):
        return read_picture_geometry(file)
    if ending_of(file.name, ARCHIVE_ENDINGS):
        return read_archive_geometry(file)
    return read_itk_geometry(file)


def _read_one(file: Path) -> Volume:
    if file.is_dir() or ending_of(file.name, DICOM_ENDINGS):
        return read_series(file)
    if ending_of(file.name, NIFTI_ENDINGS):
        return read_nifti(file)
    if ending_of(file.name, PICTURE_ENDINGS):
        return read_picture(file)
    return read_itk(file)


def _joined(volumes: list[Volume], files: list[Path]) -> Volume:
    """Channels of one grid in one array, each contiguous in its file's order."""
    first = volumes[0]
    for volume, file in zip(volumes[1:], files[1:], strict=True):
        _require_one_grid(first, volume, file, files[0])
    shape = first.voxels.shape[1:]
    channels = sum(len(volume.voxels) for volume in volumes)
    dtype = np.result_type(*(volume.voxels.dtype for volume in volumes))
    voxels = np.empty((channels, *shape[::-1]), dtype).transpose(0, 3, 2, 1)
    at = 0
    for volume in volumes:
        voxels[at : at + len(volume.voxels)] = volume.voxels
        at += len(volume.voxels)
    notes = tuple(
        f"{file.name}: {note}" for volume, file in zip(volumes, files, strict=True) for note in volume.notes
    )
    return replace(first, voxels=voxels, notes=notes)


def _require_one_grid(first: Volume, other: Volume, file: Path, first_file: Path) -> None:
    if first.voxels.shape[1:] != other.voxels.shape[1:]:
        raise VolumeError(
            file,
            f"channel of shape {other.voxels.shape[1:]}, but {first_file.name} has {first.voxels.shape[1:]}; "
            "resample the channels of a case to one grid",
        )
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array(first.voxels.shape[1:]) - 1
    apart_mm = np.linalg.norm(corners @ (first.affine - other.affine).T, axis=1).max()
    if apart_mm > GRID_TOLERANCE * min(first.spacing):
        raise VolumeError(
            file, f"channel lies up to {apart_mm:.3g} mm off {first_file.name}; resample them to one grid"
        )
