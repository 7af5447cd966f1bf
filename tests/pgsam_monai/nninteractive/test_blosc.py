import struct

import blosc2
import numpy as np
import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import VARIABLE
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.nninteractive import blosc
from pgsam_monai.nninteractive.blosc import pack, unpack

IMAGE = np.arange(2 * 3 * 5, dtype=np.int16).reshape(1, 2, 3, 5)


def header(shape=(2, 3), name=b"int16", magic=b"NNIA", version=1, axes=None):
    axes = len(shape) if axes is None else axes
    return (
        struct.pack("<4sBBBB", magic, version, 1, axes, len(name))
        + name
        + struct.pack(f"<{len(shape)}q", *shape)
    )


def chunk(data: bytes, size=None) -> bytes:
    packed = blosc2.compress2(data, typesize=1)
    return struct.pack("<QQ", len(data) if size is None else size, len(packed)) + packed


def test_the_format_is_the_clients():
    """Written out by hand, as its documentation of the format has it."""
    by_hand = (
        header(IMAGE.shape) + struct.pack("<I", 2) + chunk(IMAGE.tobytes()[:20]) + chunk(IMAGE.tobytes()[20:])
    )
    np.testing.assert_array_equal(unpack(by_hand), IMAGE)
    assert pack(IMAGE).startswith(header(IMAGE.shape) + struct.pack("<I", 1))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("chunk_bytes", [1 << 30, 16])
def test_there_and_back(monkeypatch, dtype, chunk_bytes):
    monkeypatch.setattr(blosc, "CHUNK_BYTES", chunk_bytes)
    array = IMAGE.astype(dtype).transpose(0, 3, 1, 2)
    back = unpack(pack(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


WRONG = {
    "empty": b"",
    "text": b"no array at all, but long enough for a header",
    "magic": header(magic=b"NNIB") + bytes(40),
    "version": header(version=2) + bytes(40),
    "axes": header(shape=(1,) * 5) + bytes(40),
    "no axes": header(shape=(), axes=0) + bytes(40),
    "objects": header(name=b"object") + bytes(40),
    "words": header(name=b"U8") + bytes(40),
    "code": header(name=b"(1,),i2") + bytes(40),
    "no type": header(name=b"\xff\xfe") + bytes(40),
    "negative": header(shape=(-2, -3)) + bytes(40),
    "no chunks": header() + struct.pack("<I", 0),
    "cut": pack(IMAGE)[:-3],
    "cut head": header()[:-3],
    "no blosc": header() + struct.pack("<IQQ", 1, 12, 40) + bytes(40),
    "more than said": header() + struct.pack("<I", 1) + chunk(bytes(14)),
    "less than said": header() + struct.pack("<I", 1) + chunk(bytes(10)),
    "another size": header() + struct.pack("<I", 1) + chunk(bytes(14), size=12),
    "many chunks": header() + struct.pack("<I", 2**32 - 1),
}


@pytest.mark.parametrize("what", WRONG)
def test_other_bytes_are_refused_in_a_sentence(what):
    with pytest.raises(RequestFault, match="no array as nnInteractive's client packs it"):
        unpack(WRONG[what])


def test_the_limit_holds_before_anything_is_unpacked(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.001")
    with pytest.raises(UserFault, match="larger --max_gb"):
        unpack(header(shape=(4000, 4000, 4000)))
