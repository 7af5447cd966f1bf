"""NIfTI volumes: .nii, .nii.gz, .hdr with .img."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.volume.inflating import DAMAGE, gzip
from pgsam_monai.base.volume.nifti_header import Header, header_size, parse_header
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, spacing_of

_MOST_INFLATION = 1100
"""deflate can't expand a byte to more than 1032"""
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
            with _open(_image_of(file)) as stream:
                stream.read(header.offset)
                flat = _read_voxels(stream, header, _image_of(file))
    except DAMAGE as error:
        raise ReadError(file, _cause(error)) from error
    voxels = _channels_first(_scaled(flat, header) if header.scaled else flat, header)
    return Volume(voxels=voxels, affine=header.affine, spacing=spacing_of(header.affine), notes=header.notes)


def read_nifti_geometry(file: Path) -> Geometry:
    """Read the header only. Raises ReadError."""
    try:
        with _open(file) as stream:
            header = _read_header(stream, file)
    except DAMAGE as error:
        raise ReadError(file, _cause(error)) from error
    return Geometry(
        shape=header.shape,
        channels=header.channels,
        affine=header.affine,
        spacing=spacing_of(header.affine),
        dtype=header.read_dtype,
        notes=header.notes,
    )


def _open(file: Path) -> Any:
    return gzip.open(file, "rb") if file.name.lower().endswith(".gz") else open(file, "rb")


def _read_header(stream: Any, file: Path) -> Header:
    """Read up to the first voxel (header and extensions) and decode the header."""
    start = stream.read(4)
    size = header_size(start, file)
    raw = start + stream.read(size - 4)
    if len(raw) < size:
        raise EOFError
    header = parse_header(raw, file)
    if not header.paired:
        stream.read(header.offset - size)
    return header


def _read_voxels(stream: Any, header: Header, file: Path) -> np.ndarray:
    """The voxels in file order, 1-D, native byte order. Reads on to the end so that checksums count."""
    count = int(np.prod(header.shape, dtype=np.int64)) * header.channels
    expected, stored = count * header.dtype.itemsize, file.stat().st_size
    if expected > stored * _MOST_INFLATION:
        raise ReadError(file, f"truncated: the header promises {expected} bytes, the file has {stored}")
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


def _image_of(header_file: Path) -> Path:
    name = header_file.name
    ending = ".hdr.gz" if name.lower().endswith(".hdr.gz") else ".hdr"
    image = header_file.with_name(name[: -len(ending)] + ending.replace("hdr", "img"))
    if not image.exists():
        raise ReadError(header_file, f"its voxels should lie in {image.name}, which does not exist")
    return image


def _cause(error: Exception) -> str:
    """What a reader needs to know of a system or inflate error."""
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, EOFError):
        return "truncated: the file ends too early; copy or download it again"
    if isinstance(error, gzip.BadGzipFile) and "Not a gzipped" in str(error):
        return "not gzip-compressed although its name ends in .gz; rename or compress it"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    return f"damaged: {error}; copy or download it again"
