"""What the header of a MetaImage or NRRD file says, and its voxels by it.

Read here and not by ITK, which trusts a header: some of them abort the process or take any memory they like.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pgsam_monai.base.dicom.series import LPS_TO_RAS
from pgsam_monai.base.volume.inflating import DAMAGE, GZIP_MARK, gzip, zlib
from pgsam_monai.base.volume.limits import require_memory, require_stored
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, spacing_of, usable_affine

FROM_END = -1
"""as `skip`: the voxels are the last bytes of their file"""
_PORTION = 1 << 20
_DIGITS = 32
"""bytes of a number in text, at most, on average"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """How voxels lie in files, and where in space. A MetaImage's or NRRD's header, checked."""

    file: Path
    axes: tuple[int, ...]
    """sizes of all axes of the array in the file, the fastest first"""
    parts_axis: int | None
    """which of `axes` counts the parts of a voxel (colours, layers); None: voxels are numbers"""
    dtype: np.dtype
    """with the file's byte order"""
    lps: np.ndarray
    """(4, 4) voxel (i, j, k) -> mm, LPS+, ITK's frame"""
    files: tuple[Path, ...]
    """that hold the voxels, one after the other"""
    encoding: str
    """'raw', 'packed' (zlib or gzip) or 'text'"""
    skip: int = 0
    """bytes before the voxels, or FROM_END"""
    lines: int = 0
    """lines before those bytes"""
    unpacked_skip: int = 0
    """bytes before the voxels, once unpacked"""

    @property
    def size(self) -> tuple[int, ...]:
        """Voxels along the 2 to 4 axes of space and time."""
        return tuple(length for axis, length in enumerate(self.axes) if axis != self.parts_axis)

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = (*self.size, 1)[:3]
        return i, j, k

    @property
    def channels(self) -> int:
        return math.prod(self.axes) // math.prod(self.shape)


def geometry_of(stored: Stored) -> Geometry:
    """Raises ReadError for an affine that is none."""
    affine, notes = usable_affine(LPS_TO_RAS @ stored.lps, stored.shape, stored.file)
    return Geometry(
        shape=stored.shape,
        channels=stored.channels,
        affine=affine,
        spacing=spacing_of(affine),
        dtype=stored.dtype.newbyteorder("="),
        notes=tuple(notes),
    )


def volume_of(stored: Stored) -> Volume:
    """Parts of a voxel, and a fourth axis, become channels. Raises ReadError for missing or damaged voxels."""
    geometry = geometry_of(stored)
    flat = _voxels(stored)
    native = flat if flat.dtype.isnative else flat.byteswap(inplace=True).view(geometry.dtype)
    array = native.reshape(stored.axes, order="F")
    parts = array[None] if stored.parts_axis is None else np.moveaxis(array, stored.parts_axis, 0)
    spatial = (
        parts.reshape((*parts.shape, 1), order="F") if parts.ndim == 3 else parts
    )  # (parts, i, j, k[, t])
    voxels = np.moveaxis(spatial, -1, 1).reshape(-1, *stored.shape) if spatial.ndim == 5 else spatial
    return Volume(voxels=voxels, affine=geometry.affine, spacing=geometry.spacing, notes=geometry.notes)


def _voxels(stored: Stored) -> np.ndarray:
    """1-D, as stored."""
    expected = require_memory(stored.file, stored.axes, stored.dtype)
    held = sum(file.stat().st_size for file in stored.files) - max(stored.skip, 0)
    if stored.encoding == "text":
        return _from_text(stored, held)
    require_stored(stored.file, expected, held, packed=stored.encoding == "packed")
    flat = np.empty(math.prod(stored.axes), stored.dtype)
    target = memoryview(flat.view(np.uint8).data)
    share, rest = divmod(len(target), len(stored.files))
    if rest or share % stored.dtype.itemsize:
        raise ReadError(stored.file, f"{len(stored.files)} files can't share {len(flat)} voxels evenly")
    for number, file in enumerate(stored.files):
        part = target[number * share : (number + 1) * share]
        with _opened(file) as stream:
            _skip(stream, stored, len(part))
            filled = (_unpack if stored.encoding == "packed" else _fill)(stream, part, stored.unpacked_skip)
        if filled < len(part):
            raise ReadError(
                stored.file,
                f"truncated: {filled} of {len(part)} bytes of voxels; copy or download it again",
            )
    return flat


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with open(file, "rb") as stream:
            yield stream
    except DAMAGE as error:
        raise ReadError(file, f"damaged or truncated: {error}; copy or download it again") from error


def _skip(stream: BinaryIO, stored: Stored, length: int) -> None:
    """To the first byte of the voxels, or of what is packed."""
    if stored.skip == FROM_END:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(size - length, 0))
        return
    stream.seek(stored.skip)
    for _ in range(stored.lines):
        if not stream.readline():
            break


def _fill(stream: Any, target: memoryview, skip: int = 0) -> int:
    """Bytes read into `target`, fewer than it takes where the stream ends."""
    while skip > 0 and (passed := stream.read(min(skip, _PORTION))):
        skip -= len(passed)
    filled = 0
    while filled < len(target) and (got := stream.readinto(target[filled:])):
        filled += got
    return filled


def _unpack(stream: BinaryIO, target: memoryview, skip: int) -> int:
    """As `_fill`, of a zlib or gzip stream, whose checksum is tried; never inflates more than is asked for."""
    start = stream.read(2)
    stream.seek(-len(start), os.SEEK_CUR)
    if start == GZIP_MARK:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            filled = _fill(unpacked, target, skip)
            unpacked.read(1)
        return filled
    inflater = _Inflater(stream)
    filled = _fill(inflater, target, skip)
    inflater.read(1)
    return filled


class _Inflater:
    """A zlib stream, as far as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._inflater, self._packed = stream, zlib.decompressobj(15), b""

    def read(self, most: int) -> bytes:
        """The next bytes, at least one unless the stream has ended. Raises EOFError where it is cut off."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._stream.read(_PORTION)
            part = self._inflater.decompress(packed, most)
            if part:
                return part
            if not packed:
                raise EOFError("the compressed voxels end too early")
        return b""

    def readinto(self, target: memoryview) -> int:
        part = self.read(min(len(target), _PORTION))
        target[: len(part)] = part
        return len(part)


def _from_text(stored: Stored, held: int) -> np.ndarray:
    count = math.prod(stored.axes)
    if count > held or held > count * _DIGITS + (1 << 16):
        raise ReadError(
            stored.file, f"{held} bytes of text can't be {count} numbers; export it in binary form"
        )
    words: list[bytes] = []
    for file in stored.files:
        with _opened(file) as stream:
            _skip(stream, stored, 0)
            words += stream.read().split()
    if len(words) < count:
        raise ReadError(stored.file, f"truncated: {len(words)} of {count} numbers; copy or download it again")
    try:
        return np.array(words[:count], dtype="S").astype(np.float64).astype(stored.dtype)
    except ValueError as error:
        raise ReadError(stored.file, f"its voxels should be numbers in text: {error}") from error
