"""Archives with arrays "image" and "label", without geometry: TransUNet's .npz slices and .h5 volumes, UA-MT's LA."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.records import Geometry, Volume, VolumeError

SLICES_LAST = ("mri_norm2.h5",)
"""names of the archives that hold (x, y, slices), as UA-MT's do; TransUNet's hold (slices, rows, columns)"""

_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def read_archives(files: Sequence[Path], key: str) -> Volume:
    """One .h5 volume or one .npz per slice: voxels (1, rows, columns, slices); of UA-MT's (1, x, y, slices).

    `key` is "image" or "label". Raises VolumeError when a file can't be read or the slices differ in shape.
    """
    arrays = [_read(file, key) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise VolumeError(
                file, f"slice of {array.shape[1:]} pixels where {files[0].name} has {arrays[0].shape[1:]}"
            )
    stack = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)  # (slices, rows, columns)
    return Volume(voxels=np.moveaxis(stack, 0, -1)[None], affine=np.eye(4), spacing=(1.0, 1.0, 1.0))


def read_archive_geometry(file: Path) -> Geometry:
    """Shape and type of "image" in one archive. Raises VolumeError."""
    shape, dtype = _h5_header(file) if _is_h5(file) else _npz_header(file)
    slices, rows, columns = _stacked(shape, file)
    return Geometry(
        shape=(rows, columns, slices), channels=1, affine=np.eye(4), spacing=(1.0, 1.0, 1.0), dtype=dtype
    )


def _is_h5(file: Path) -> bool:
    return file.name.lower().endswith((".h5", ".hdf5"))


def _read(file: Path, key: str) -> np.ndarray:
    """(slices, rows, columns)."""
    try:
        if _is_h5(file):
            import h5py

            with h5py.File(file, "r") as archive:
                array = archive[key][()]
        else:
            with np.load(file, allow_pickle=False) as archive:
                array = archive[key]
    except _DAMAGE as error:
        raise VolumeError(file, _cause(error, key)) from error
    return (
        np.moveaxis(array, -1, 0)
        if _has_slices_last(array.shape, file)
        else array.reshape(_stacked(array.shape, file))
    )


def _has_slices_last(shape: tuple[int, ...], file: Path) -> bool:
    return file.name.lower() in SLICES_LAST and len(shape) == 3


def _stacked(shape: tuple[int, ...], file: Path) -> tuple[int, int, int]:
    """`shape` of a stored array as (slices, rows, columns)."""
    if _has_slices_last(shape, file):
        return shape[2], shape[0], shape[1]
    if len(shape) not in (2, 3):
        raise VolumeError(
            file, f"an array of shape {shape}; expected (rows, columns) or (slices, rows, columns)"
        )
    slices, rows, columns = (1, *shape)[-3:]
    return slices, rows, columns


def _h5_header(file: Path) -> tuple[tuple[int, ...], np.dtype]:
    import h5py

    try:
        with h5py.File(file, "r") as archive:
            return archive["image"].shape, archive["image"].dtype
    except _DAMAGE as error:
        raise VolumeError(file, _cause(error, "image")) from error


def _npz_header(file: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        with zipfile.ZipFile(file) as archive, archive.open("image.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(stream)
            return shape, dtype
    except _DAMAGE as error:
        raise VolumeError(file, _cause(error, "image")) from error


def _cause(error: Exception, key: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, KeyError):
        return f"the archive has no array {key!r}"
    return f"unreadable or truncated: {error}; copy or export it again"
