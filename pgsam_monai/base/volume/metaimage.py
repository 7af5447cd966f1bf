"""MetaImage headers (.mha, .mhd): lines of `Key = value`, the last of which names the file of the voxels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.admission import data_beside
from pgsam_monai.base.volume.headers import MOST_AXES, Fields, numbered_files
from pgsam_monai.base.volume.records import ReadError
from pgsam_monai.base.volume.stored import FROM_END, Stored

TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4",
    "ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
_SIGN = re.compile("[=:]")
_LONGEST_HEADER = 1 << 16
_LONGEST_LIST = 1 << 20


def read_metaimage_header(file: Path) -> Stored:
    """The header, checked. Raises ReadError on what can't be a volume, or takes its voxels from elsewhere."""
    fields, end, names = _read(file)
    axes = fields.whole("NDims", least=2, most=MOST_AXES)
    size = fields.wholes("DimSize", axes)
    parts = fields.whole("ElementNumberOfChannels", 1)
    where = fields.text("ElementDataFile")
    local = where.upper() == "LOCAL"
    files = (file,) if local else _data_files(file, where, names)
    skip = fields.whole("HeaderSize", 0, least=FROM_END)
    encoding = "packed" if fields.flag("CompressedData") else "raw"
    if not fields.flag("BinaryData", default=True):
        encoding = "text"
    if skip == FROM_END and encoding != "raw":
        raise ReadError(file, "HeaderSize = -1 is for voxels as they are, neither packed nor in text")
    return Stored(
        file=file,
        axes=(parts, *size) if parts > 1 else size,
        parts_axis=0 if parts > 1 else None,
        dtype=_dtype(fields),
        lps=_lps(fields, axes),
        files=files,
        encoding=encoding,
        skip=skip or (end if local else 0),
    )


def _read(file: Path) -> tuple[Fields, int, list[str]]:
    """Fields up to ElementDataFile, which is the last; the byte after them, and the names in a list there."""
    with open(file, "rb") as stream:
        start = stream.read(_LONGEST_HEADER)
        fields: dict[str, str] = {}
        at = 0
        while "ElementDataFile" not in fields and (line_end := start.find(b"\n", at)) >= 0:
            key, equals, value = _SIGN.sub("\n", start[at:line_end].decode("latin-1"), count=1).partition(
                "\n"
            )
            known = fields.setdefault(key.strip(), value.strip()) if equals else value
            if equals and known != value.strip() and key.strip() != "Comment":
                raise ReadError(file, f"its header gives {key.strip()[:40]} twice")
            at = line_end + 1
        listed = fields.get("ElementDataFile", "").startswith("LIST")
        stream.seek(at)
        names = stream.read(_LONGEST_LIST).decode("utf-8", "replace").split("\n") if listed else []
    if "ElementDataFile" not in fields or "DimSize" not in fields:
        raise ReadError(file, "not a MetaImage file, or its header is truncated")
    if fields.get("ObjectType", "Image") != "Image":
        raise ReadError(file, f"a MetaIO {fields['ObjectType'][:40]!r}, not an image")
    return Fields(file, fields), at, [name.strip() for name in names if name.strip()]


def _data_files(file: Path, where: str, names: Sequence[str]) -> tuple[Path, ...]:
    if where.startswith("LIST"):
        if not names:
            raise ReadError(file, "its list of files is empty")
        return tuple(data_beside(file, name) for name in names)
    return numbered_files(file, where)


def _dtype(fields: Fields) -> np.dtype:
    kind = fields.text("ElementType").removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in TYPES:
        raise ReadError(fields.file, f"ElementType {fields.text('ElementType')[:40]!r} is no number")
    swapped = fields.flag("BinaryDataByteOrderMSB") or fields.flag("ElementByteOrderMSB")
    return np.dtype((">" if swapped else "<") + TYPES[kind])


def _lps(fields: Fields, axes: int) -> np.ndarray:
    """A line of the matrix is the direction of an axis; an axis that is missing points along +z, 1 mm apart."""
    directions = np.eye(axes)
    if given := fields.first("TransformMatrix", "Rotation", "Orientation"):
        directions = np.reshape(fields.numbers(given, axes * axes), (axes, axes))
    spacing = fields.numbers(fields.first("ElementSpacing", "ElementSize"), axes, default=1.0)
    origin = fields.numbers(fields.first("Offset", "Position", "Origin"), axes, default=0.0)
    if not np.all(spacing):
        raise ReadError(fields.file, f"ElementSpacing {re.sub(r'[^-+.0-9e ]', '', str(spacing))} has a 0")
    used = min(axes, 3)
    lps = np.eye(4)
    lps[:used, :used] = (directions.T * spacing)[:used, :used]
    lps[:used, 3] = origin[:used]
    return lps
