"""Files that are no plain slices, told in one sentence each: what was found, and what to do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pgsam_monai.base.dicom.headers import DicomError, Slice, names_of

DECODED = {
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5", "1.2.840.113619.5.2",
}  # fmt: skip
"""transfer syntaxes that SimpleITK's GDCM decodes: native, deflated, JPEG, JPEG-LS, JPEG 2000, RLE"""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""of SOP classes, as a prefix"""
MEASURED = ("CT", "PT", "NM", "MR")
"""modalities whose grey values are measured, one number per pixel"""


def check_kinds(slices: Sequence[Slice]) -> None:
    """Raises DicomError for several series, and for files that are no plain slices."""
    series = defaultdict(list)
    for item in slices:
        series[item.series].append(item)
    if len(series) > 1:
        listed = "; ".join(_series_text(uid, items) for uid, items in series.items())
        raise DicomError(f"{len(series)} DICOM series in one folder: {listed}; give each its own folder")
    for check in (
        _check_frames,
        _check_localizers,
        _check_colour,
        _check_captures,
        _check_inversion,
        _check_syntax,
    ):
        check(slices)


def _series_text(uid: str, items: Sequence[Slice]) -> str:
    words = str(items[0].header.get("SeriesDescription", "")).strip()
    return f"{uid or 'no UID'} ({f'{words}, ' if words else ''}{len(items)} files)"


def _check_frames(slices: Sequence[Slice]) -> None:
    found = [item for item in slices if int(item.header.get("NumberOfFrames") or 1) > 1]
    if found:
        raise DicomError(
            f"{names_of(found)} holds {int(found[0].header.NumberOfFrames)} frames in one file "
            f"({found[0].header.SOPClassUID.name}), and a file per slice is read here; split it (dcm4che: emf2sf) or "
            "convert it to NIfTI (dcm2niix)"
        )


def _check_localizers(slices: Sequence[Slice]) -> None:
    found = [item for item in slices if "LOCALIZER" in (item.header.get("ImageType") or ())]
    if len(found) == len(slices):
        raise DicomError(
            f"the series is a localizer (scout), {len(slices)} overview images; give the series itself"
        )
    if found:
        raise DicomError(
            f"{len(found)} of {len(slices)} files are localizers (scouts), not slices ({names_of(found)}); move them "
            "out of the folder"
        )


def _check_colour(slices: Sequence[Slice]) -> None:
    found = [item for item in slices if int(item.header.get("SamplesPerPixel") or 1) > 1]
    captured = [item for item in found if _is_capture(item) or item.header.get("Modality") in MEASURED]
    if captured or (found and len(slices) > 1):
        first = (captured or found)[0]
        raise DicomError(
            f"{len(found)} of {len(slices)} images are in colour ({names_of(found)}: "
            f"{first.header.SOPClassUID.name}): a screen capture, fused or coloured map, whose colours were not "
            "measured; give the series that it was made from"
        )


def _check_captures(slices: Sequence[Slice]) -> None:
    found = [item for item in slices if _is_capture(item) and item.position is None]
    if found:
        kind = found[0].header.get("ConversionType") or ""
        raise DicomError(
            f"{names_of(found)} is a secondary capture (screen shot, dose sheet or scanned paper"
            f"{f', conversion type {kind}' if kind else ''}) without a place in the patient; give the original "
            "series, or the picture as PNG"
        )


def _is_capture(item: Slice) -> bool:
    return f"{item.header.get('SOPClassUID', '')}.".startswith(f"{SECONDARY_CAPTURE}.")


def _check_inversion(slices: Sequence[Slice]) -> None:
    """SimpleITK turns inverted images over, which is right for radiographs only."""
    found = [item for item in slices if is_inverted(item) and item.header.get("Modality") in MEASURED]
    if found:
        raise DicomError(
            f"{names_of(found)} is stored for inverted display (MONOCHROME1), and reading it would turn the "
            f"{found[0].header.Modality}'s measured values over; export the series as MONOCHROME2"
        )


def is_inverted(item: Slice) -> bool:
    return item.header.get("PhotometricInterpretation") == "MONOCHROME1"


def _check_syntax(slices: Sequence[Slice]) -> None:
    for item in slices:
        syntax = getattr(getattr(item.header, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and str(syntax) not in DECODED:
            raise DicomError(
                f"{item.file.name} is compressed as {syntax.name} ({syntax}), which can't be decoded here; have the "
                "archive send it uncompressed (Explicit VR Little Endian), or decompress it (dcm4che: dcm2dcm)"
            )
