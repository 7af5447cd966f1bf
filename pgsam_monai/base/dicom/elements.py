"""The bytes of a DICOM file, before pydicom and GDCM read them: both trust the lengths that stand there."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

MARK = b"DICM"
"""after 128 bytes of anything; files of old scanners go without both"""
SNIFFED = 1024
_FIRST_GROUPS = (0x0002, 0x0008)
_ITEMS = 0xFFFE
_PIXELS = (0x7FE0, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_SHORT_VRS = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_VRS = _SHORT_VRS | _LONG_VRS
_ELEMENTS = 3
"""so many elements in the right order can't be chance"""
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 1 << 29
"""bytes of a slice, its header and all"""
_PORTION = 1 << 20


def begins_with_elements(start: bytes) -> bool:
    """Whether bytes are little-endian elements of group 2 or 8, their tags rising, each of a likely length."""
    at, last = 0, (0, -1)
    for _ in range(_ELEMENTS):
        if len(start) < at + 12:
            return False
        group, element, kind = *struct.unpack_from("<HH", start, at), start[at + 4 : at + 6]
        if group not in _FIRST_GROUPS or (group, element) <= last:
            return False
        if kind in _LONG_VRS:
            value, length = at + 12, struct.unpack_from("<I", start, at + 8)[0]
        elif kind in _SHORT_VRS:
            value, length = at + 8, struct.unpack_from("<H", start, at + 6)[0]
        else:  # implicit: the length alone
            value, length = at + 8, struct.unpack_from("<I", start, at + 4)[0]
        if length % 2 or value + length > SNIFFED:
            return False
        at, last = value + length, (group, element)
    return True


def inflates_too_far(stream: BinaryIO) -> bool:
    """Whether a deflated data set, which pydicom inflates whole, is larger than a slice can be; back to the start."""
    syntax, at = _syntax(stream)
    if syntax != _DEFLATED:
        return False
    stream.seek(at)
    inflater, count = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (packed := inflater.unconsumed_tail or stream.read(_PORTION)):
        count += len(inflater.decompress(packed, _PORTION))
        if count > _MOST_INFLATED:
            return True
    stream.seek(0)
    return False


def lengths_fit(stream: BinaryIO, size: int) -> bool:
    """Whether no element says that it is longer than what is left of the file; the stream goes back to its start.

    Sequences and fragments of packed pixels are looked into. What isn't understood is left to pydicom.
    """
    syntax, at = _syntax(stream)
    fit = True
    if syntax != _DEFLATED:
        stream.seek(at)
        order, explicit = (">" if syntax == _BIG_ENDIAN else "<"), syntax not in (_IMPLICIT, b"")
        fit = _walk(stream, size, order, explicit)
    stream.seek(0)
    return fit


def _walk(stream: BinaryIO, size: int, order: str, explicit: bool) -> bool:
    in_pixels = False
    while len(head := stream.read(8)) == 8:
        group, element = struct.unpack(f"{order}HH", head[:4])
        kind, length = head[4:6], struct.unpack(f"{order}I", head[4:])[0]
        if explicit and group != _ITEMS:
            if kind in _LONG_VRS:
                length = int.from_bytes(stream.read(4), "little" if order == "<" else "big")
            elif kind in _SHORT_VRS:
                length = struct.unpack(f"{order}H", head[6:])[0]
            elif stream.tell() + length <= size:
                return True
            else:  # a kind that doesn't exist, whose length GDCM takes from here
                return False
        if length == _UNDEFINED and explicit and kind == b"UN":
            return True
        if length != _UNDEFINED and stream.tell() + length > size:
            return False
        in_pixels = (group, element) == _PIXELS if group != _ITEMS else in_pixels
        goes_in = length == _UNDEFINED or (kind == b"SQ" and explicit) or (group == _ITEMS and not in_pixels)
        if not goes_in:
            stream.seek(length, os.SEEK_CUR)
    return True


def _syntax(stream: BinaryIO) -> tuple[bytes, int]:
    """The transfer syntax, "" where none is given and the data set is implicit, and where the data set begins."""
    stream.seek(0)
    start = stream.read(SNIFFED)
    at = 132 if start[128:132] == MARK else 0
    syntax = b""
    while len(start) >= at + 12 and start[at : at + 2] == b"\2\0" and start[at + 4 : at + 6] in _VRS:
        long = start[at + 4 : at + 6] in _LONG_VRS
        length = (
            struct.unpack_from("<I", start, at + 8)[0] if long else struct.unpack_from("<H", start, at + 6)[0]
        )
        value = at + (12 if long else 8)
        if start[at + 2 : at + 4] == b"\x10\0":
            syntax = start[value : value + length].rstrip(b"\0 ")
        at = value + length
    if not syntax and start[at + 4 : at + 6] in _VRS:
        syntax = _BIG_ENDIAN if start[at : at + 2] == b"\0\x08" else _EXPLICIT
    return syntax, at
