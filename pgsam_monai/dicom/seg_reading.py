"""DICOM-SEG back into label maps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.dicom.headers import DicomError, require_sound
from pgsam_monai.base.dicom.series import Series, read_series
from pgsam_monai.base.memory import limit_bytes


def read_segmentation(file: str | Path, series: Series | str | Path) -> tuple[np.ndarray, dict[str, int]]:
    """The label map of a DICOM-SEG on the grid of the series that it refers to.

    Args:
        file: a segmentation object whose segments don't overlap.
        series: of `read_series`, or its folder or file.

    Returns:
        segment numbers (i, j, k), uint8 or uint16, 0 for none; and the segments' labels with their numbers.

    Raises:
        DicomError: the file is no segmentation, refers to another series, or its segments overlap.
    """
    import highdicom as hd

    series = series if isinstance(series, Series) else read_series(series)
    require_sound(Path(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on odd values that stand in the source's header too
        try:
            item = hd.seg.segread(str(file))
            _require_memory(item, file)
            instances = _instances(item, series, file)
        except DicomError:
            raise
        except Exception as error:  # damaged elements make pydicom and highdicom raise anything
            raise DicomError(
                f"{file} can't be read as a DICOM segmentation ({error}); give a SEG object"
            ) from error
    try:
        frames = item.get_pixels_by_source_instance(
            source_sop_instance_uids=instances, combine_segments=True, assert_missing_frames_are_empty=True
        )
    except RuntimeError as error:
        raise DicomError(
            f"{file} holds segments that overlap, which no label map can say ({error})"
        ) from error
    except Exception as error:
        raise DicomError(f"{file} is damaged ({error}); export the segmentation again") from error
    return np.ascontiguousarray(frames.T), _labels(item)


def _require_memory(item: Any, file: str | Path) -> None:
    """Raises DicomError for frames that promise more than an image may take."""
    promised = int(item.NumberOfFrames) * int(item.Rows) * int(item.Columns)
    if promised > limit_bytes():
        raise DicomError(
            f"{file} promises {promised / 1e9:.3g} GB of voxels, and the limit is {limit_bytes() / 1e9:.2g} GB; if "
            "it is right, raise the limit with --max_gb"
        )


def _instances(item: Any, series: Series, file: str | Path) -> list[str]:
    """The slices' SOP Instance UIDs, in slice order."""
    instances = [str(one.header.SOPInstanceUID) for one in series.slices]
    referred = {uid for _, _, uid in item.get_source_image_uids()}
    if not referred & set(instances):
        raise DicomError(
            f"{file} refers to none of the slices in {series.path}; give the series that was segmented"
        )
    return instances


def _labels(item: Any) -> dict[str, int]:
    """Labels of segments; one that another segment has too gets its number behind it."""
    labels: dict[str, int] = {}
    for segment in item.SegmentSequence:
        label, number = str(segment.SegmentLabel), int(segment.SegmentNumber)
        labels[f"{label} ({number})" if label in labels else label] = number
    return labels
