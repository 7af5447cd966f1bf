"""Checks a MetaImage's voxels before ITK reads them, and inflates them, which ITK would do more slowly.

ITK's reader returns garbage for damaged compressed data and calls a short file "No such file or directory".
"""

from __future__ import annotations

import sys
from pathlib import Path

from pgsam_monai.base.volume.inflating import DAMAGE, zlib
from pgsam_monai.base.volume.records import ReadError

_TYPE_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_LONGEST_HEADER = 1 << 16


def check_voxels(file: Path) -> bytes | None:
    """The inflated voxels of a compressed .mha or .mhd in native byte order, None of others: ITK reads those.

    Raises ReadError when they are missing, short or damaged.
    """
    with open(file, "rb") as stream:
        start = stream.read(_LONGEST_HEADER)
    fields, end = _fields(start)
    where = fields.get("ElementDataFile")
    if where is None or "DimSize" not in fields:
        raise ReadError(
            file, "the file is empty" if not start else "not a MetaImage file, or its header is truncated"
        )
    if where == "LIST" or "%" in where:  # a file per slice: ITK reports those itself
        return None
    data, skip = (file, end) if where in ("LOCAL", "local") else (file.parent / where, 0)
    if not data.is_file():
        raise ReadError(file, f"its voxels should lie in {where}, which does not exist")
    expected = _expected_bytes(fields)
    compressed = _is_true(fields, "CompressedData")
    inflated = _inflated(data, skip, expected) if compressed else None
    got = data.stat().st_size - skip if inflated is None else len(inflated)
    if got < expected:
        raise ReadError(file, f"truncated: {got} of {expected} bytes of voxels; copy or download it again")
    swapped = any(_is_true(fields, key) for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    return inflated if got == expected and swapped == (sys.byteorder == "big") else None


def _is_true(fields: dict[str, str], key: str) -> bool:
    return fields.get(key, "").lower() == "true"


def _fields(start: bytes) -> tuple[dict[str, str], int]:
    """Header fields up to ElementDataFile, which is the last, and the byte after them."""
    fields: dict[str, str] = {}
    at = 0
    while (line_end := start.find(b"\n", at)) >= 0:
        key, _, value = start[at:line_end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        at = line_end + 1
        if key.strip() == "ElementDataFile":
            break
    return fields, at


def _expected_bytes(fields: dict[str, str]) -> int:
    """0 for a type that isn't known here."""
    voxels = int(fields.get("ElementNumberOfChannels", 1))
    for length in fields["DimSize"].split():
        voxels *= int(length)
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    return voxels * _TYPE_BYTES.get(kind if kind in _TYPE_BYTES else kind.removeprefix("U"), 0)


def _inflated(data: Path, skip: int, expected: int) -> bytes:
    with open(data, "rb") as stream:
        stream.seek(skip)
        stored = stream.read()
    try:
        return zlib.decompress(stored, 15, max(expected, 1))
    except DAMAGE as error:
        raise ReadError(data, f"damaged or truncated: {error}; copy or download it again") from error
