"""NIfTI volumes: .nii, .nii.gz, .hdr with .img."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.volume.admission import data_beside
from pgsam_monai.base.volume.inflating import DAMAGE, GZIP_MARK, gzip
from pgsam_monai.base.volume.limits import DEFLATED, require_memory, require_stored
from pgsam_monai.base.volume.nifti_header import Header, header_size, parse_header
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, spacing_of

_PORTION = 1 << 20
_SCALED_AT_ONCE = 1 << 18
"""voxels: what is scaled in double precision stays in the processor's cache"""


def read_nifti(file: Path) -> Volume:
    """Read voxels and geometry; the fourth or fifth file axis becomes the channels. Raises ReadError.

    Values keep their stored type; they are scaled, to float32, only if the header sets a slope or intercept.
    """
    try:
        with _open(file) as stream:
            header = _read_header(stream, file)
            flat = None if header.paired else _read_voxels(stream, header, file)
        if flat is None:
            image = image_of(file)
            with _open(image) as stream:
                _pass(stream, header.offset)
                flat = _read_voxels(stream, header, image)
    except DAMAGE as error:
        raise ReadError(file, _cause(error, file)) from error
    voxels = _channels_first(_scaled(flat, header) if header.scaled else flat, header)
    return Volume(voxels=voxels, affine=header.affine, spacing=spacing_of(header.affine), notes=header.notes)


def is_pair(file: Path) -> bool:
    """Whether the voxels lie in another file. Raises ReadError."""
    try:
        with _open(file) as stream:
            return _read_header(stream, file).paired
    except DAMAGE as error:
        raise ReadError(file, _cause(error, file)) from error


def read_nifti_geometry(file: Path) -> Geometry:
    """Read the header only. Raises ReadError."""
    try:
        with _open(file) as stream:
            header = _read_header(stream, file)
    except DAMAGE as error:
        raise ReadError(file, _cause(error, file)) from error
    return Geometry(
        shape=header.shape,
        channels=header.channels,
        affine=header.affine,
        spacing=spacing_of(header.affine),
        dtype=header.read_dtype,
        notes=header.notes,
    )


def _open(file: Path) -> Any:
    return gzip.open(file, "rb") if _is_packed(file) else open(file, "rb")


def _read_header(stream: Any, file: Path) -> Header:
    """Read up to the first voxel (header and extensions) and decode the header."""
    start = stream.read(4)
    size = header_size(start, file)
    raw = start + stream.read(size - 4)
    if len(raw) < size:
        raise EOFError
    header = parse_header(raw, file)
    if not header.paired:
        _check_offset(header, file)
        _pass(stream, header.offset - size)
    return header


def _check_offset(header: Header, file: Path) -> None:
    """Raises ReadError for voxels that begin beyond what the file can hold."""
    held = file.stat().st_size * (DEFLATED if _is_packed(file) else 1)
    if header.offset > held:
        raise ReadError(file, f"truncated: its voxels should begin at byte {header.offset}")


def _is_packed(file: Path) -> bool:
    return file.name.lower().endswith(".gz")


def _pass(stream: Any, count: int) -> None:
    """Read on by so many bytes, a few at a time: a header may say anything."""
    while count > 0 and (passed := stream.read(min(count, _PORTION))):
        count -= len(passed)


def _read_voxels(stream: Any, header: Header, file: Path) -> np.ndarray:
    """The voxels in file order, 1-D, native byte order. Reads on to the end so that checksums count."""
    count = math.prod(header.shape) * header.channels
    expected = require_memory(file, (count,), header.dtype)
    packed, size = _is_packed(file), file.stat().st_size
    require_stored(file, expected, size if packed else max(size - header.offset, 0), packed=packed)
    flat = np.empty(count, header.dtype)
    target, filled = memoryview(flat.data).cast("B"), 0
    while filled < expected:
        got = stream.readinto(target[filled:])
        if not got:
            raise ReadError(file, f"truncated: {filled} of {expected} bytes of voxels")
        filled += got
    stream.read(1)
    return flat if flat.dtype.isnative else flat.byteswap(inplace=True).view(flat.dtype.newbyteorder("="))


def _scaled(flat: np.ndarray, header: Header) -> np.ndarray:
    """Rounded once, from double precision, as nibabel's values are when they become float32."""
    scaled = np.empty(flat.shape, header.read_dtype)
    for at in range(0, len(flat), _SCALED_AT_ONCE):
        part = slice(at, at + _SCALED_AT_ONCE)
        scaled[part] = flat[part] * np.float64(header.slope) + np.float64(header.inter)
    return scaled


def _channels_first(flat: np.ndarray, header: Header) -> np.ndarray:
    if header.colours:
        return flat.reshape((header.colours, *header.shape), order="F")
    return np.moveaxis(flat.reshape((*header.shape, header.extra), order="F"), -1, 0)


def image_of(header_file: Path) -> Path:
    """The file of a pair's voxels. Raises ReadError."""
    name = header_file.name
    ending = ".hdr.gz" if name.lower().endswith(".hdr.gz") else ".hdr"
    return data_beside(header_file, name[: -len(ending)] + ending.replace("hdr", "img"))


def _cause(error: Exception, file: Path) -> str:
    """What a reader needs to know of a system or inflate error."""
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, EOFError):
        return "truncated: the file ends too early; copy or download it again"
    if isinstance(error, gzip.BadGzipFile) and "Not a gzipped" in str(error):
        with open(file, "rb") as stream:
            if stream.read(2) == GZIP_MARK:
                return "damaged: something follows the end of its compressed part; copy or download it again"
        return "not gzip-compressed although its name ends in .gz; rename or compress it"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    return f"damaged: {error}; copy or download it again"
