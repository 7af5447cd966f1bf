"""Archives with arrays "image" and "label", without geometry: TransUNet's .npz slices and .h5 volumes, UA-MT's LA."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import suffix_among
from pgsam_monai.base.volume.limits import require_memory, require_stored
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume

SLICES_LAST = ("mri_norm2.h5",)
"""names of the archives that hold (x, y, slices), as UA-MT's do; TransUNet's hold (slices, rows, columns)"""

_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""of HDF5, by number: those that h5py brings; others would be loaded as plugins"""
_PACKED = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}
"""how numpy packs an array"""


def read_archives(files: Sequence[Path], key: str) -> Volume:
    """One .h5 volume or one .npz per slice: voxels (1, rows, columns, slices); of UA-MT's (1, x, y, slices).

    `key` is "image" or "label". Raises ReadError when a file can't be read or the slices differ in shape.
    """
    arrays = [_read(file, key) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ReadError(
                file, f"slice of {array.shape[1:]} pixels where {files[0].name} has {arrays[0].shape[1:]}"
            )
    stack = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)  # (slices, rows, columns)
    return Volume(voxels=np.moveaxis(stack, 0, -1)[None], affine=np.eye(4), spacing=(1.0, 1.0, 1.0))


def read_archive_geometry(file: Path) -> Geometry:
    """Shape and type of "image" in one archive. Raises ReadError."""
    with _opened(file, "image") as archive:
        shape, dtype = _array_header(archive, "image", file)
    slices, rows, columns = _stacked(shape, file)
    return Geometry(
        shape=(rows, columns, slices), channels=1, affine=np.eye(4), spacing=(1.0, 1.0, 1.0), dtype=dtype
    )


def _is_npz(file: Path) -> bool:
    return suffix_among(file.name).lower() == ".npz"


@contextlib.contextmanager
def _opened(file: Path, key: str) -> Iterator[Any]:
    """The open archive, which holds `key`; whatever damage does to reading it becomes ReadError."""
    try:
        with np.load(file, allow_pickle=False) if _is_npz(file) else _h5(file) as archive:
            if key not in archive:
                raise ReadError(file, f"the archive has no array {key!r}, only {sorted(archive)[:5]}")
            yield archive
    except ReadError:
        raise
    except FileNotFoundError as error:
        raise ReadError(file, "the file does not exist") from error
    except _DAMAGE as error:
        raise ReadError(file, f"unreadable or truncated: {error}; copy or export it again") from error


def _h5(file: Path) -> Any:
    import h5py

    return h5py.File(file, "r")


def _read(file: Path, key: str) -> np.ndarray:
    """(slices, rows, columns)."""
    with _opened(file, key) as archive:
        _array_header(archive, key, file)
        array = archive[key][()]
    if _has_slices_last(array.shape, file):
        return np.moveaxis(array, -1, 0)
    return array.reshape(_stacked(array.shape, file))


def _has_slices_last(shape: tuple[int, ...], file: Path) -> bool:
    return file.name.lower() in SLICES_LAST and len(shape) == 3


def _stacked(shape: tuple[int, ...], file: Path) -> tuple[int, int, int]:
    """`shape` of a stored array as (slices, rows, columns)."""
    if _has_slices_last(shape, file):
        return shape[2], shape[0], shape[1]
    if len(shape) not in (2, 3):
        raise ReadError(
            file, f"an array of shape {shape}; expected (rows, columns) or (slices, rows, columns)"
        )
    slices, rows, columns = (1, *shape)[-3:]
    return slices, rows, columns


def _array_header(archive: Any, key: str, file: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array that is there in whole, of numbers, with room in memory. Raises ReadError."""
    shape, dtype, stored, packed = (
        _npz_header(archive, key) if _is_npz(file) else _h5_header(archive, key, file)
    )
    if dtype.kind not in "biuf":
        raise ReadError(file, f"{key!r} holds values of type {dtype}, no numbers; export it again")
    require_stored(file, require_memory(file, shape, dtype), stored, packed=packed)
    return shape, dtype


def _npz_header(archive: Any, key: str) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """Shape and type of an array, which np.load would read whole; its bytes in the file, and whether packed."""
    member = archive.zip.getinfo(f"{key}.npy")
    if member.compress_type not in _PACKED:
        raise ValueError("packed in a way that numpy doesn't use")
    with archive.zip.open(member) as stream:
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        start = stream.tell()
    packed = _PACKED[member.compress_type]
    if math.prod(shape) * dtype.itemsize > member.file_size - start:
        raise ValueError(f"{member.file_size} bytes can't hold an array of shape {shape}")
    return shape, dtype, member.compress_size if packed else member.file_size, packed


def _h5_header(archive: Any, key: str, file: Path) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """As `_npz_header`. Raises ReadError for values that lie elsewhere, or are packed in unknown ways."""
    import h5py

    if not isinstance(archive.get(key, getlink=True), h5py.HardLink):
        raise ReadError(file, f"{key!r} is a link to another place; export the array itself")
    array = archive[key]
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        raise ReadError(file, f"{key!r} is no array")
    if array.external or array.is_virtual:
        raise ReadError(file, f"{key!r} takes its values from other files; export the array itself")
    settings = array.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if strange := [number for number in filters if number not in _FILTERS]:
        raise ReadError(
            file, f"{key!r} is packed by HDF5's filter {strange[0]}, which isn't read here; use gzip"
        )
    if array.chunks:
        require_memory(file, array.chunks, array.dtype)
    packed = bool(set(filters) - {2, 3})
    return array.shape, array.dtype, array.id.get_storage_size(), packed
