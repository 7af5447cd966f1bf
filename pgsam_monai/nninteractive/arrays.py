"""Arrays as the protocol has them: NumPy's files for what comes, packed bits for what goes.

Everything is in the order (z, y, x) there, as `slicer.util.arrayFromVolume` gives it. Files are read by their headers,
checked before a voxel is read, and never unpickled.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from typing import IO

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume.finite import found_not_finite
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.nninteractive.fields import require_room

GZIP = b"\x1f\x8b"
NUMBERS = "biuf"
"""Kinds of NumPy's types that voxels may have."""
DRAWN = 1
"""Of masks: strokes come as the difference of two masks of uint8, where what was erased since is 255."""


def read_image(stream: IO[bytes]) -> np.ndarray:
    """An image (z, y, x) of a .npy file, gzipped or not; it may not be written to.

    Raises:
        RequestFault: no such file, damaged, or truncated.
        UserFault: other than three axes, voxels that are no numbers or not finite, or more than `--max_gb` allows.
    """
    file, shape, dtype, order = _opened(stream)
    if len(shape) != 3:
        raise UserFault(
            f"An image has three axes (z, y, x), this one {len(shape)}: {shape}; colours aren't taken."
        )
    if dtype.kind not in NUMBERS:
        raise UserFault(f"Voxels are numbers, these are of type {dtype}.")
    require_room("The image", shape, dtype)
    image = _voxels(file, shape, dtype, order)
    require_finite(image)
    return image


def read_mask(stream: IO[bytes], shape: Sequence[int]) -> np.ndarray:
    """Where a mask of a .npy file, gzipped or not, is 1: (z, y, x) of bool.

    Args:
        stream: the file.
        shape: of the image; more than it holds is never read.

    Raises:
        RequestFault: no such file, damaged, or truncated.
        UserFault: another shape, or values that are no numbers.
    """
    file, found, dtype, order = _opened(stream)
    if found != tuple(shape):
        raise UserFault(f"The mask has shape {found}, the image {tuple(shape)}; send the image again.")
    if dtype.kind not in NUMBERS:
        raise UserFault(f"A mask holds 0 and 1, this one values of type {dtype}.")
    return _voxels(file, found, dtype, order) == DRAWN


def require_finite(image: np.ndarray) -> None:
    """Raises UserFault, which counts the NaN and infinite values, if there are any."""
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        found = found_not_finite(int(np.isnan(image).sum()), int(np.isinf(image).sum()))
        raise UserFault(f"The image has {found} voxels; replace them by the background value.")


def packed(mask: np.ndarray) -> bytes:
    """A mask (z, y, x) of bool as answers have it: one bit a voxel, x fastest, gzipped."""
    return gzip.compress(np.packbits(mask, axis=None).tobytes(), compresslevel=1)


def extent(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last voxel of a mask, not empty, along each of its axes."""
    found = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        along = np.flatnonzero(mask.any(axis=others))
        found.append((int(along[0]), int(along[-1])))
    return found


def _opened(stream: IO[bytes]) -> tuple[IO[bytes], tuple[int, ...], np.dtype, str]:
    """A file behind its header, and what that promises: shape, type, and "C" or "F"."""
    start = stream.read(len(GZIP))
    stream.seek(0)
    file = gzip.GzipFile(fileobj=stream) if start == GZIP else stream
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
            version
        ]
        shape, is_fortran, dtype = read(file)
        if min(shape, default=0) < 1:
            raise ValueError(f"it has shape {shape}")
    except (
        ValueError,
        TypeError,
        SyntaxError,
        KeyError,
        RecursionError,
        OSError,
        EOFError,
        zlib.error,
    ) as fault:
        raise RequestFault(
            "The file is no array as numpy.save writes it; send a .npy, gzipped or not."
        ) from fault
    return file, shape, dtype, "F" if is_fortran else "C"


def _voxels(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, order: str) -> np.ndarray:
    """What follows the header; nothing beyond what it promises is read."""
    size = math.prod(shape) * dtype.itemsize
    try:
        data = file.read(size)
    except (OSError, EOFError, zlib.error) as fault:
        raise RequestFault("The file's compression is damaged; send it again.") from fault
    if len(data) < size:
        raise RequestFault(f"The file is truncated: {size} bytes of voxels are promised, {len(data)} came.")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=order)
