"""DICOM files before anything decodes them: without their mark, with lengths that lie, with values that are none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dataset_builders import tiny_image, tiny_label, write_series

from pgsam_monai.base.dicom.elements import inflates_too_far, lengths_fit
from pgsam_monai.base.dicom.headers import is_dicom_file
from pgsam_monai.base.dicom.series import DicomError
from pgsam_monai.base.dicom.series import read_series as find_series
from pgsam_monai.base.volume import ReadError, read_geometry, read_volume
from pgsam_monai.dicom.seg import read_headers
from pgsam_monai.dicom.seg_reading import read_segmentation
from pgsam_monai.predicting.inputs import list_inputs

IMAGE = tiny_image(1, tiny_label(1))[..., :4]


@pytest.fixture
def series(tmp_path) -> Path:
    return write_series(tmp_path / "series", IMAGE)


def refused(folder: Path) -> str:
    with pytest.raises(ReadError) as caught:
        read_volume(folder)
    return caught.value.reason


def without_mark(content: bytes, *, meta: bool, implicit: bool) -> bytes:
    if meta:
        return content[132:]
    item = pydicom.dcmread(io.BytesIO(content))
    bare = pydicom.Dataset()
    bare.update(item)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, bare, implicit_vr=implicit, little_endian=True)
    return stream.getvalue()


AS_WISHED = pytest.mark.skipif(pydicom.__version__ < "3", reason="pydicom 3 writes DICOM as it is wished")


@AS_WISHED
@pytest.mark.parametrize("kind", [(True, False), (False, True), (False, False)])
def test_files_without_the_mark_are_one_series(series, kind):
    expected = read_volume(series)
    for file in sorted(series.iterdir()):
        content = without_mark(file.read_bytes(), meta=kind[0], implicit=kind[1])
        file.with_suffix("").write_bytes(content)
        file.unlink()
    assert len(list_inputs(series)) == 1
    np.testing.assert_array_equal(read_volume(series).voxels, expected.voxels)
    np.testing.assert_allclose(read_geometry(series).affine, expected.affine, atol=1e-9)


@pytest.mark.parametrize(
    "content", [b"", b"\x08\0", b"\x08\0\x05\0CS", bytes(200), b"\x02\0" * 100, b"a text of 132 bytes" * 9]
)
def test_other_files_are_none(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not is_dicom_file(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    assert not is_dicom_file(tmp_path / "pipe")


@pytest.mark.parametrize(
    "tag", [b"\x28\0\x10\0US", b"\x28\0\x02\x01US", b"\xe0\x7f\x10\0OW", b"\x08\0\x18\0UI"]
)
@pytest.mark.parametrize("change", ["length", "kind"])
def test_lengths_beyond_the_file_are_told(series, tag, change):
    file = sorted(series.iterdir())[1]
    content = bytearray(file.read_bytes())
    at = content.index(tag)
    if change == "kind":
        content[at + 4 : at + 8] = b"UO\xff\x7f"
    elif tag.endswith(b"OW"):
        struct.pack_into("<I", content, at + 8, 700_000_000)
    else:
        struct.pack_into("<H", content, at + 6, 0xFFFE)
    file.write_bytes(content)
    assert not lengths_fit(io.BytesIO(content), len(content))
    assert "1 DICOM files are truncated or unreadable (2.dcm)" in refused(series)


@AS_WISHED
def test_a_deflated_bomb_is_not_inflated(series, monkeypatch):
    monkeypatch.setattr("pgsam_monai.base.dicom.elements._MOST_INFLATED", 1 << 20)
    item = pydicom.dcmread(sorted(series.iterdir())[0])
    item.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, item, enforce_file_format=True)
    assert not inflates_too_far(stream)
    content = stream.getvalue()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = content[:start] + packer.compress(bytes(1 << 21)) + packer.flush()
    assert inflates_too_far(io.BytesIO(bomb))


@pytest.mark.parametrize(
    "values",
    [
        {"Rows": 0}, {"Columns": None}, {"RescaleSlope": "1e999"}, {"NumberOfFrames": "-1"}, {"BitsAllocated": 0},
        {"Rows": 60000, "Columns": 60000}, {"SOPClassUID": None},
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_sentences(series, values):
    for file in series.iterdir():
        item = pydicom.dcmread(file)
        for name, value in values.items():
            if value is None:
                delattr(item, name)
            else:
                item.add_new(name, pydicom.datadict.dictionary_VR(name), value)
        item.save_as(file)
    assert not refused(series).startswith("can't be read (")


@pytest.mark.parametrize(
    "keyword", ["SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"]
)
@pytest.mark.parametrize("gone", [True, False])
def test_segmentations_need_what_they_refer_to(series, keyword, gone):
    for file in series.iterdir():
        item = pydicom.dcmread(file)
        if gone:
            item.pop(keyword, None)
        else:
            setattr(item, keyword, "")
        item.save_as(file)
    with pytest.raises(DicomError, match="UID, so that nothing"):
        read_headers(find_series(series))


def test_segmentations_pass_the_same_door(series, tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(DicomError, match="a named pipe"):
        read_segmentation(tmp_path / "pipe.dcm", series)
    damaged = bytearray(sorted(series.iterdir())[0].read_bytes())
    struct.pack_into("<I", damaged, damaged.index(b"\xe0\x7f\x10\0OW") + 8, 700_000_000)
    (tmp_path / "long.dcm").write_bytes(damaged)
    with pytest.raises(DicomError, match="longer than it is"):
        read_segmentation(tmp_path / "long.dcm", series)
    with pytest.raises(DicomError, match="can't be read as a DICOM segmentation"):
        read_segmentation(sorted(series.iterdir())[0], series)
