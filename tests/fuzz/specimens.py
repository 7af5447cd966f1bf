"""One tiny valid image per format, as bytes, with what of it is a header: what `damage` works on."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from dataset_builders import tiny_image, tiny_label, write_series, write_volume

SHAPE = (7, 6, 5)
NIFTI_FIELDS = [
    (0, "i"), *((40 + 2 * n, "h") for n in range(8)), (68, "h"), (70, "h"), (72, "h"),
    *((76 + 4 * n, "f") for n in range(8)), (108, "f"), (112, "f"), (116, "f"), (120, "h"), (123, "B"),
    (252, "h"), (254, "h"), *((256 + 4 * n, "f") for n in range(18)), (344, "i"), (348, "i"),
]  # fmt: skip
NIFTI2_FIELDS = [
    (0, "i"), (4, "i"), (12, "h"), (14, "h"), *((16 + 8 * n, "q") for n in range(8)),
    *((104 + 8 * n, "d") for n in range(8)), (168, "q"), (176, "d"), (184, "d"), (344, "i"), (348, "i"),
    *((352 + 8 * n, "d") for n in range(18)), (540, "i"),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A valid image: its files, and where its header is."""

    files: dict[str, bytes]
    """by name; the first is the one that is damaged, unpacked if it is packed"""
    opened: str = ""
    """what readers are given, if not the first file; "." is the folder"""
    header_bytes: int = 512
    """where most of the damage is done"""
    fields: tuple[tuple[int, str], ...] = ()
    """offset and struct code of binary fields, little-endian unless the code says otherwise"""
    lines: bool = False
    """whether the header is lines of text"""
    packed: Callable[[bytes], bytes] = bytes
    """what is done to the damaged bytes: compression, checksums"""


@cache
def specimens() -> dict[str, Specimen]:
    """By name of the format."""
    with tempfile.TemporaryDirectory() as folder:
        found = {**_niftis(Path(folder)), **_itk(Path(folder)), **_dicom(Path(folder))}
    return found | _pictures() | _archives()


def _voxels() -> tuple[np.ndarray, np.ndarray]:
    label = tiny_label(1, SHAPE)
    return tiny_image(1, label), label


def _niftis(folder: Path) -> dict[str, Specimen]:
    import nibabel as nib

    image, label = _voxels()
    one = write_volume(folder / "case.nii", image).read_bytes()
    nib.save(nib.Nifti2Image(image, np.diag([2.0, 1, 1, 1])), folder / "two.nii")
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), folder / "rgb.nii")
    write_volume(folder / "case.hdr", label)
    big = nib.Nifti1Image(image, np.eye(4)).header.as_byteswapped(">")
    nib.save(nib.Nifti1Image(image, np.eye(4), big), folder / "big.nii")
    fields, second = tuple(NIFTI_FIELDS), tuple(NIFTI2_FIELDS)
    swapped = tuple((at, f">{code}") for at, code in fields)

    def nifti(name: str, content: bytes, fields: tuple, **options: object) -> Specimen:
        return Specimen(files={name: content}, header_bytes=352, fields=fields, **options)

    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    return {
        "nii": nifti("case.nii", one, fields),
        "nii.gz": nifti("case.nii.gz", one, fields, packed=gzip.compress),
        "gzip": Specimen(files={"case.nii.gz": gzip.compress(one)}, header_bytes=16),
        "nifti-2": nifti("case.nii", read("two.nii"), second),
        "rgb nii": nifti("case.nii.gz", read("rgb.nii"), fields, packed=gzip.compress),
        "big-endian nii": nifti("case.nii", read("big.nii"), swapped),
        "hdr": Specimen(
            files={"case.hdr": read("case.hdr"), "case.img": read("case.img")},
            header_bytes=348,
            fields=fields,
        ),
    }


def _itk(folder: Path) -> dict[str, Specimen]:
    image, label = _voxels()
    found = {}
    for name, ending, compressed in (
        ("mha", ".mha", False), ("packed mha", ".mha", True), ("mhd", ".mhd", False), ("packed mhd", ".mhd", True),
        ("nrrd", ".nrrd", False), ("packed nrrd", ".nrrd", True), ("nhdr", ".nhdr", False),
    ):  # fmt: skip
        place = folder / name.replace(" ", "_")
        first = write_volume(place / f"case{ending}", image if compressed else label, compressed=compressed)
        others = sorted(file for file in place.iterdir() if file != first)
        found[name] = Specimen(files={file.name: file.read_bytes() for file in (first, *others)}, lines=True)
    return found


def _dicom(folder: Path) -> dict[str, Specimen]:
    image, _ = _voxels()
    write_series(folder / "series", image[:, :, :3])
    files = {file.name: file.read_bytes() for file in sorted((folder / "series").iterdir())}
    first = next(iter(files.values()))
    fields = tuple(_dicom_fields(first))
    return {
        "dicom": Specimen(files={"1.dcm": first}, header_bytes=900, fields=fields),
        "dicom series": Specimen(files=files, opened=".", header_bytes=900, fields=fields),
    }


def _dicom_fields(content: bytes) -> list[tuple[int, str]]:
    """The two bytes of numbers, and all lengths of elements, of an explicit little-endian file."""
    fields, at = [], 132
    while at + 8 <= len(content):
        kind, length = content[at + 4 : at + 6], struct.unpack_from("<H", content, at + 6)[0]
        long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF")
        fields.append((at + 8, "<I") if long else (at + 6, "<H"))
        if kind == b"US":
            fields.append((at + 8, "<H"))
        at += 12 + struct.unpack_from("<I", content, at + 8)[0] if long else 8 + length
    return fields


def _pictures() -> dict[str, Specimen]:
    from PIL import Image

    grey = (np.arange(20 * 16).reshape(20, 16) % 251).astype(np.uint8)
    colour = Image.fromarray(np.stack([grey, grey // 2, 255 - grey], -1))
    palette = Image.fromarray(grey % 3).convert("P")

    def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        return stream.getvalue()

    return {
        "png": Specimen(
            files={"case.png": saved(colour, "PNG")}, header_bytes=33, fields=((16, ">I"), (20, ">I"), (24, "B"),
            (25, "B"), (26, "B"), (28, "B")), packed=png_sums,
        ),
        "palette png": Specimen(files={"case.png": saved(palette, "PNG")}, header_bytes=60, packed=png_sums),
        "bmp": Specimen(
            files={"case.bmp": saved(colour, "BMP")}, header_bytes=54,
            fields=((2, "I"), (10, "I"), (14, "I"), (18, "i"), (22, "i"), (26, "H"), (28, "H"), (30, "I"), (34, "I")),
        ),
        "tiff": Specimen(files={"case.tif": saved(colour, "TIFF")}, header_bytes=200),
        "packed tiff": Specimen(
            files={"case.tif": saved(Image.fromarray(grey), "TIFF", compression="tiff_deflate")}, header_bytes=400
        ),
        "jpeg": Specimen(files={"case.jpg": saved(colour, "JPEG")}, header_bytes=700),
    }  # fmt: skip


def png_sums(content: bytes) -> bytes:
    """With the checksums that its chunks should have, so that damage gets beyond them."""
    out, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        body = content[at + 4 : at + 8 + length]
        out += content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out + content[at:])


def _archives() -> dict[str, Specimen]:
    import h5py

    image, label = (np.moveaxis(array, -1, 0).astype(np.float32) for array in _voxels())
    plain, packed, volume = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(plain, image=image[0], label=label[0])
    np.savez_compressed(packed, image=image[0], label=label[0])
    with h5py.File(volume, "w") as archive:
        archive.create_dataset("image", data=image, compression="gzip")
        archive["label"] = label
    return {
        "npz": Specimen(files={"case.npz": plain.getvalue()}, header_bytes=200),
        "packed npz": Specimen(files={"case.npz": packed.getvalue()}, header_bytes=300),
        "h5": Specimen(files={"case.h5": volume.getvalue()}, header_bytes=4096),
    }
