"""Arrays as nnInteractive's client packs them since its version 2: a header, then chunks compressed by Blosc2.

"NNIA", version, codec, axes, length of the type's name: 8 bytes; the name; a 64-bit integer an axis
a 32-bit integer: chunks; of each its length and its compressed length, 64 bits each, and the chunk
"""

from __future__ import annotations

import math
import struct

import blosc2
import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.nninteractive.fields import require_room

MAGIC, VERSION, ZSTD = b"NNIA", 1, 1
HEAD, CHUNKS, CHUNK = struct.Struct("<4sBBBB"), struct.Struct("<I"), struct.Struct("<QQ")
SIZES = {"uint": (8, 16, 32, 64), "int": (8, 16, 32, 64), "float": (16, 32, 64)}
TYPES = {f"{kind}{bits}": np.dtype(f"{kind}{bits}") for kind, several in SIZES.items() for bits in several}
TYPES["bool"] = np.dtype(bool)
"""By the names that the client writes; NumPy would read others as it reads Python."""
MOST_AXES, CHUNK_BYTES = 4, 1 << 30
LEAST_CHUNK = 32
"""bytes of Blosc2's own header, which it reads unasked"""


def unpack(data: bytes) -> np.ndarray:
    """An array as it was packed.

    Raises:
        RequestFault: other bytes, or damaged ones.
        UserFault: larger than `--max_gb` allows.
    """
    try:
        return _unpack(data)
    except UserFault:
        raise
    except (struct.error, KeyError, TypeError, ValueError, RuntimeError) as fault:
        raise RequestFault("The body is no array as nnInteractive's client packs it.") from fault


def pack(array: np.ndarray) -> bytes:
    """An array of at most a GiB a chunk."""
    array = np.ascontiguousarray(array)
    name, raw, size = (
        array.dtype.name.encode(),
        memoryview(array.reshape(-1).view(np.uint8)),
        array.dtype.itemsize,
    )
    parts = [
        HEAD.pack(MAGIC, VERSION, ZSTD, array.ndim, len(name)),
        name,
        struct.pack(f"<{array.ndim}q", *array.shape),
    ]
    pieces = [raw[at : at + CHUNK_BYTES] for at in range(0, len(raw), CHUNK_BYTES)]
    parts.append(CHUNKS.pack(len(pieces)))
    for piece in pieces:
        packed = blosc2.compress2(
            piece, typesize=size, codec=blosc2.Codec.ZSTD, clevel=1, filters=[blosc2.Filter.NOFILTER]
        )
        parts += [CHUNK.pack(len(piece), len(packed)), packed]
    return b"".join(parts)


def _unpack(data: bytes) -> np.ndarray:
    magic, version, _, axes, length = HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION or not 1 <= axes <= MOST_AXES:
        raise ValueError("another format")
    at = HEAD.size + length
    dtype = TYPES[data[HEAD.size : at].decode("ascii")]
    shape = struct.unpack_from(f"<{axes}q", data, at)
    if min(shape) < 1:
        raise ValueError(f"{dtype}, {shape}")
    require_room("The array", shape, dtype)
    return _filled(np.zeros(math.prod(shape), dtype), data, at + 8 * axes).reshape(shape)


def _filled(out: np.ndarray, data: bytes, at: int) -> np.ndarray:
    """`out` with the chunks that begin there; each chunk's own header is believed only where it fits."""
    (chunks,), view, done = CHUNKS.unpack_from(data, at), memoryview(data), 0
    at += CHUNKS.size
    for _ in range(chunks):
        size, packed = CHUNK.unpack_from(data, at)
        at += CHUNK.size
        chunk = view[at : at + packed]
        whole = (
            len(chunk) == packed >= LEAST_CHUNK
            and size % out.itemsize == 0
            and done + size <= out.nbytes
            and size > 0
        )
        if not whole or blosc2.get_cbuffer_sizes(chunk)[:2] != (size, packed):
            raise ValueError("a chunk of another size")
        blosc2.decompress2(chunk, dst=out[done // out.itemsize : (done + size) // out.itemsize])
        done, at = done + size, at + packed
    if done != out.nbytes:
        raise ValueError("too little")
    return out
