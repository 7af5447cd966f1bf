"""The headers of a series' files: what is a slice, what is something else, what is broken."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import DICOM_SUFFIXES, suffix_among
from pgsam_monai.base.dicom.elements import (
    MARK,
    SNIFFED,
    begins_with_elements,
    inflates_too_far,
    lengths_fit,
)
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import is_hidden
from pgsam_monai.base.regular import is_regular, why_no_file

NO_SLICES = {
    "SEG": "a segmentation", "RTSTRUCT": "a structure set", "PR": "a presentation state", "KO": "a key object",
    "SR": "a report",
}  # fmt: skip
"""Modalities of objects that belong to slices and are none, some of which have pixels"""
TAGS = """
ImageType SOPClassUID SOPInstanceUID SeriesInstanceUID SeriesDescription Modality ConversionType FrameOfReferenceUID
ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices GantryDetectorTilt
Rows Columns SamplesPerPixel PhotometricInterpretation NumberOfFrames BitsAllocated RescaleSlope RescaleIntercept
InstanceNumber AcquisitionNumber AcquisitionTime ContentTime TemporalPositionIdentifier TriggerTime EchoTime
InversionTime DiffusionBValue ConvolutionKernel KVP ContrastBolusAgent
""".split()
_NATIVE = {"1.2.840.10008.1.2": 8, "1.2.840.10008.1.2.1": 12, "1.2.840.10008.1.2.2": 12}
"""transfer syntaxes without compression, and the bytes that they put before the pixels"""


class DicomError(UserFault):
    """Why DICOM files can't be used: one sentence with what was found and a remedy, without their path."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """One file with one image, its header read and its place taken out of it."""

    file: Path
    header: Any
    """pydicom's Dataset with the elements of TAGS that the file has; `file_meta` too"""
    position: np.ndarray | None
    """(3,) mm, LPS+: the centre of the first pixel; None where the file doesn't say"""
    directions: np.ndarray | None
    """(2, 3) unit vectors, LPS+: along a row of pixels, and down its column"""
    spacing: np.ndarray | None
    """(2,) mm: from a column of pixels to the next, and from a row to the next"""

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector, LPS+, across the plane; of slices that have `directions`."""
        along_row, down_column = np.asarray(self.directions)
        return np.cross(along_row, down_column)

    @property
    def series(self) -> str:
        return str(self.header.get("SeriesInstanceUID", ""))


def read_slices(path: Path) -> tuple[list[Slice], list[str]]:
    """The slices of a folder (or one file) in the order of their names, and notes on files that are none.

    Raises:
        DicomError: none is there, or files are truncated or unreadable.
    """
    if not path.is_dir() and (reason := why_no_file(path)):
        raise DicomError(reason)
    files = sorted(path.iterdir(), key=lambda file: file.name) if path.is_dir() else [path]
    slices, notes, broken = [], [], []
    for file in (file for file in files if file == path or _looks_like_dicom(file)):
        header = _read_header(file)
        if header is None:
            broken.append(file.name)
            continue
        kind = NO_SLICES.get(str(header.get("Modality", "")))
        if kind or "Rows" not in header:
            notes.append(
                f"{file.name} holds no slice ({kind or 'a report, plan or structure set'}): left out"
            )
        else:
            slices.append(_slice(file, header))
    if broken:
        shown = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise DicomError(f"{len(broken)} DICOM files are truncated or unreadable ({shown}); copy them again")
    if not slices:
        found = f": {'; '.join(notes[:3])}" if notes else "; give the folder that holds its slices"
        raise DicomError(f"no DICOM series in this {'file' if path.is_file() else 'folder'}{found}")
    return slices, notes


def require_sound(file: Path) -> None:
    """Raises DicomError for what pydicom would wait for, inflate without end or allocate for, whatever it holds."""
    if reason := why_no_file(file):
        raise DicomError(f"{file}: {reason}")
    with file.open("rb") as stream:
        if inflates_too_far(stream) or not lengths_fit(stream, file.stat().st_size):
            raise DicomError(f"{file} is damaged: parts of it are longer than it is; copy it again")


def is_dicom_file(file: Path) -> bool:
    """Whether the file bears DICOM's mark, or begins with a data set's elements as files of old scanners do."""
    if not is_regular(file):
        return False
    with file.open("rb") as stream:
        start = stream.read(SNIFFED)
    return start[128:132] == MARK or begins_with_elements(start)


def _looks_like_dicom(file: Path) -> bool:
    if is_hidden(file) or file.name == "DICOMDIR" or not is_regular(file):
        return False
    return bool(suffix_among(file.name, DICOM_SUFFIXES)) or is_dicom_file(file)


def _read_header(file: Path) -> Any | None:
    """The header; None where the file can't be read, or ends before its pixels do."""
    import pydicom

    with file.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd values that nobody asks for here
        try:
            if inflates_too_far(stream) or not lengths_fit(stream, file.stat().st_size):
                return None
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS, force=True)
            rest = file.stat().st_size - stream.tell()
            if "SOPClassUID" not in header or not _has_good_numbers(header):
                return None
            if "Rows" in header and rest < _native_bytes(header):
                return None
        except Exception:  # pydicom raises anything for damaged elements
            return None
    return header


def _has_good_numbers(header: Any) -> bool:
    """Whether sizes and scales, where they stand, are such. Raises whatever damaged elements do."""
    for keyword in TAGS:
        header.get(keyword)  # decoded only when asked for
    counts = [header.get(name) for name in ("Rows", "Columns")] if "Rows" in header else []
    counts += [header[name].value or 1 for name in ("SamplesPerPixel", "NumberOfFrames") if name in header]
    scales = [float(header.get(name) or 0) for name in ("RescaleSlope", "RescaleIntercept")]
    bits = int(header.get("BitsAllocated") or 8)
    return all(int(count) > 0 for count in counts) and all(map(math.isfinite, scales)) and 0 < bits <= 64


def _native_bytes(header: Any) -> int:
    """Bytes that the element of the pixels takes at least; 0 where they are compressed."""
    syntax = getattr(header.file_meta, "TransferSyntaxUID", "") if hasattr(header, "file_meta") else ""
    if syntax and syntax not in _NATIVE:
        return 0
    numbers = (header.get(name) or 1 for name in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"))
    pixels = math.prod(int(number) for number in numbers)
    return _NATIVE.get(syntax, 8) + pixels * int(header.get("BitsAllocated") or 8) // 8


def _slice(file: Path, header: Any) -> Slice:
    axes = _numbers(header, "ImageOrientationPatient", 6)
    directions = None
    if axes is not None:
        directions = axes.reshape(2, 3)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        directions = directions / lengths if lengths.all() else None
    between = _numbers(header, "PixelSpacing", 2)  # from row to row first
    return Slice(
        file=file, header=header, position=_numbers(header, "ImagePositionPatient", 3), directions=directions,
        spacing=None if between is None or not (between > 0).all() else between[::-1],
    )  # fmt: skip


def _numbers(header: Any, keyword: str, count: int) -> np.ndarray | None:
    """A vector of the header; None where it is missing or isn't one."""
    try:
        values = np.array([float(value) for value in header.get(keyword) or ()])
    except (TypeError, ValueError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def names_of(slices: Sequence[Slice], most: int = 2) -> str:
    """Some file names, for a sentence."""
    shown = ", ".join(_shown(slices, most))
    return shown + (", ..." if len(slices) > most else "")


def _shown(slices: Sequence[Slice], most: int) -> Iterator[str]:
    for item in slices[:most]:
        yield item.file.name
