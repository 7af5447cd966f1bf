"""Label maps out as DICOM segmentation objects (DICOM-SEG), for viewers and archives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.dicom.headers import DicomError
from pgsam_monai.base.dicom.series import Series, read_series
from pgsam_monai.base.files import whole
from pgsam_monai.base.volume.records import GRID_TOLERANCE, apart_mm
from pgsam_monai.dicom.segments import Maker, describe_segments, long_string

SERIES_NUMBER = 300
"""of a segmentation's series, as dcmqi numbers them"""
MANUFACTURER = "pgsam-monai"
_NEEDED = {
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
    "SOPInstanceUID": "SOP Instance UID",
}
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def write_segmentation(
    labels: np.ndarray,
    series: Series | str | Path,
    names: Mapping[str, int],
    file: str | Path,
    *,
    maker: Maker,
    affine: np.ndarray | None = None,
    background: int | None = 0,
    omit_empty_frames: bool = True,
) -> Path:
    """Write a label map as one DICOM-SEG: a binary segment per class that has voxels, on the series' own slices.

    Args:
        labels: integers (i, j, k) on the series' grid: columns, rows, slices sorted along their normal.
        series: of `read_series`, or its folder or file.
        names: class names, which become the segments' labels, and their values in `labels`; their order is the
            order of segments and of colours.
        file: appears whole or not at all.
        maker: what stands in it as its source.
        affine: (4, 4) of the label map, voxel -> mm, RAS+, to be checked; None: not known.
        background: the value that is no class; None: all that `names` does not name.
        omit_empty_frames: leave out slices on which a class has no voxel.

    Returns:
        `file`.

    Raises:
        DicomError: the series can't be read, the label map isn't on its grid, or holds values without a name.
    """
    series = series if isinstance(series, Series) else read_series(series)
    _check_grid(labels, affine, series)
    frames, present = _numbered(labels, names, background)
    sources = read_headers(series)
    if not present:  # a segmentation has at least one segment and one frame: all classes, and one empty slice
        frames, sources, present = frames[:1], sources[:1], list(names)
    item = _build(frames, sources, present, list(names), maker, omit_empty_frames)
    return _save(item, Path(file))


def read_headers(series: Series) -> list[Any]:
    """The slices' whole headers, without pixels, in slice order.

    Raises:
        DicomError: a header lacks what a segmentation must refer to.
    """
    import pydicom

    headers = [
        _mended(pydicom.dcmread(file, stop_before_pixels=True, force=True), series) for file in series.files
    ]
    for keyword, what in _NEEDED.items():
        if any(not header.get(keyword) for header in headers):
            raise DicomError(
                f"the series' files have no {what}, so that nothing can refer to them; mend their headers"
            )
    if len(headers) > 1 and not all(header.get("FrameOfReferenceUID") for header in headers):
        raise DicomError(
            "the series' files have no Frame of Reference UID, so that nothing can be placed in their space; mend "
            "their headers"
        )
    return headers


def _mended(header: Any, series: Series) -> Any:
    """A header with what highdicom asks for and many files leave out; values that are unknown stay empty."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    if series.affine is not None:
        distance = round(float(np.linalg.norm(series.affine[:3, 2])), 6)
        header.SpacingBetweenSlices = distance
        if not header.get("SliceThickness"):
            header.SliceThickness = distance
    for keyword in ("NumberOfFrames", "FrameOfReferenceUID"):  # 1, and empty
        if keyword in header and header[keyword].value in (1, "", None):
            delattr(header, keyword)
    return header


def _check_grid(labels: np.ndarray, affine: np.ndarray | None, series: Series) -> None:
    if labels.shape != series.shape:
        raise DicomError(
            f"the label map has {_by(labels.shape)} voxels and the series {series.path} {_by(series.shape)}; give the "
            "series that was segmented, and a label map on its grid"
        )
    if affine is None or series.affine is None:
        return
    single = series.shape[2] == 1  # its slice thickness is anyone's guess, and nothing lies beyond the slice
    spacing = np.linalg.norm(series.affine[:3, : 2 if single else 3], axis=0)
    apart = apart_mm(series.affine, affine, series.shape)
    if apart > GRID_TOLERANCE * spacing.min():
        raise DicomError(
            f"the label map lies up to {apart:.3g} mm off the series {series.path}; give the series that was "
            "segmented, or resample the label map to its grid"
        )


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def _numbered(
    labels: np.ndarray, names: Mapping[str, int], background: int | None
) -> tuple[np.ndarray, list[str]]:
    """Segment numbers (k, rows, columns), and the names of segments 1, 2, … that have voxels."""
    planes = labels.T  # slice by slice: a large map is sorted nowhere as a whole
    found = {int(value) for plane in planes for value in np.unique(plane)}
    strange = sorted(found - set(names.values()) - {background})
    if strange and background is not None:
        raise DicomError(
            f"the label map holds {', '.join(map(str, strange[:5]))}, values without a name; classes are "
            f"{', '.join(f'{name} ({value})' for name, value in names.items())}"
        )
    present = [name for name, value in names.items() if value in found and value != background]
    numbers = {names[name]: number for number, name in enumerate(present, start=1)}
    known = np.array(sorted(found))
    table = np.array(
        [numbers.get(value, 0) for value in known], np.uint8 if len(present) < 256 else np.uint16
    )
    frames = np.stack([table[np.searchsorted(known, plane)] for plane in planes])
    return frames, present


def _build(
    frames: np.ndarray,
    sources: list[Any],
    present: list[str],
    names: list[str],
    maker: Maker,
    omit_empty: bool,
) -> Any:
    import highdicom as hd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on odd values of the source's header, copied as they are
        item = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=frames,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=describe_segments(present, names, maker),
            series_instance_uid=hd.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=long_string(maker.bundle),
            software_versions=maker.version,
            device_serial_number=maker.weights,
            content_label="SEGMENTATION",
            content_description=long_string(f"Segmentation by {maker.bundle}"),
            content_creator_name="pgsam-monai^",
            omit_empty_frames=omit_empty and bool(frames.any()),
            series_description=long_string(f"Segmentation by {maker.bundle}"),
        )
    item.SpecificCharacterSet = "ISO_IR 192"
    if "FrameOfReferenceUID" not in item:
        item.PatientOrientation = sources[0].get("PatientOrientation") or ""
    return item


def _save(item: Any, file: Path) -> Path:
    with whole(file) as partial:
        item.save_as(partial)
    return file
