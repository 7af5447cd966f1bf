import gzip
import io

import numpy as np
import pytest
from slicer_client import as_npy

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import VARIABLE
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.nninteractive.arrays import extent, packed, read_image, read_mask

IMAGE = np.arange(2 * 3 * 5, dtype=np.int16).reshape(2, 3, 5)


class Counting(io.BytesIO):
    """Knows how far it was read."""

    furthest = 0

    def read(self, size=-1):
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_images_come_as_they_were_saved(dtype, order, pack):
    array = np.asarray(IMAGE.astype(dtype), order=order)
    np.testing.assert_array_equal(read_image(io.BytesIO(pack(as_npy(array)))), array)


def test_a_mask_is_where_it_is_one():
    """255 is what a stroke's predecessor had and it hasn't: 0 - 1 of uint8."""
    mask = np.array([[[0, 1, 255]]], np.uint8)
    assert read_mask(io.BytesIO(as_npy(mask)), (1, 1, 3)).tolist() == [[[False, True, False]]]
    assert read_mask(io.BytesIO(as_npy(mask == 255)), (1, 1, 3)).tolist() == [[[False, False, True]]]


def test_answers_are_bits_with_x_fastest():
    mask = np.zeros((2, 3, 5), bool)
    mask[0, 0, 1] = mask[1, 0, 0] = True
    bits = np.unpackbits(np.frombuffer(gzip.decompress(packed(mask)), np.uint8))
    assert np.flatnonzero(bits).tolist() == [1, 15]
    turned = mask.transpose().copy().transpose()  # another order in memory
    assert packed(turned) == packed(mask)


def no_array():
    def altered(**fields):
        header = str({"descr": "<i2", "fortran_order": False, "shape": (2, 3, 5)} | fields).encode() + b"\n"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(60)

    yield "empty", b""
    yield "text", b"no array at all"
    yield "zip", b"PK\x03\x04" + bytes(100)
    yield "version", b"\x93NUMPY\x09\x00" + bytes(100)
    yield "damaged gzip", gzip.compress(as_npy(IMAGE))[:30]
    yield "expression", altered(shape="__import__('os')")
    yield "negative", altered(shape=(-1, 3, 5))
    yield "nothing", altered(shape=(0, 3, 5))
    yield "type", altered(descr="no type")
    yield "truncated", as_npy(IMAGE)[:-1]
    yield "truncated gzip", gzip.compress(as_npy(np.random.default_rng(0).random((4, 4, 4))))[:-100]


@pytest.mark.parametrize(
    ("what", "data"), list(no_array()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_other_files_are_refused_in_a_sentence(what, data):
    with pytest.raises(RequestFault, match=r"^The file.*\.$"):
        read_image(io.BytesIO(data))


def test_nothing_is_unpickled():
    array = np.empty((1, 1, 1), dtype=object)
    array[0, 0, 0] = print
    for read in (read_image, lambda stream: read_mask(stream, (1, 1, 1))):
        with pytest.raises(UserFault, match="type object"):
            read(io.BytesIO(as_npy(array)))


def test_images_are_volumes_of_finite_numbers():
    for array, words in (
        (np.zeros((2, 3, 5, 3)), "three axes"),
        (np.zeros((2, 3, 5), complex), "numbers"),
        (np.array([[[0.0, np.nan, np.inf]]]), "1 NaN and 1 infinite"),
    ):
        with pytest.raises(UserFault, match=words) as refused:
            read_image(io.BytesIO(as_npy(array)))
        assert not isinstance(refused.value, RequestFault)  # told in 3D Slicer


def test_the_limit_holds_before_voxels_are_read(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.000001")
    stream = Counting(as_npy(np.zeros((20, 20, 20))))
    with pytest.raises(UserFault, match="larger --max_gb"):
        read_image(stream)
    assert stream.furthest < 1000


def test_of_a_mask_no_more_is_unpacked_than_the_image_has():
    bomb = gzip.compress(as_npy(np.zeros((1, 1, 8), np.uint8)) + bytes(50_000_000))
    assert not read_mask(io.BytesIO(bomb), (1, 1, 8)).any()
    with pytest.raises(UserFault, match=r"has shape \(400, 400, 400\), the image \(1, 1, 8\)"):
        read_mask(io.BytesIO(gzip.compress(as_npy(np.zeros((400, 400, 400), bool)))), (1, 1, 8))


def test_extent():
    mask = np.zeros((6, 5, 4), bool)
    mask[1, 2:4, 3] = mask[4, 0, 3] = True
    assert extent(mask) == [(1, 4), (0, 3), (3, 3)]
