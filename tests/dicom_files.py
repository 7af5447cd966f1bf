"""Hand-made DICOM series, each slice changed as a test wishes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dataset_builders import OBLIQUE, write_series
from pydicom import dcmread

FRAME = "1.2.826.0.1.3680043.8.498.77"


def make_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray = OBLIQUE,
    *,
    change: Callable[[Any, int], None] | None = None,
    **options: Any,
) -> Path:
    """`dataset_builders.write_series` with a frame of reference; `change(item, k)` alters slice k before it is saved.

    Slice k lies in file <slices - k>.dcm: the names' order is the reverse of the places'.
    """
    write_series(folder, voxels, affine, **options)
    for k in range(voxels.shape[2]):
        file = folder / options.get("file", "{:d}.dcm").format(voxels.shape[2] - k)
        item = dcmread(file)
        item.FrameOfReferenceUID = FRAME
        if change:
            change(item, k)
        item.save_as(file)
    return folder


def positions_of(folder: Path) -> dict[str, np.ndarray]:
    """SOP Instance UID -> Image Position (Patient), mm, LPS+, by plain pydicom."""
    items = [dcmread(file, stop_before_pixels=True) for file in folder.iterdir()]
    return {str(item.SOPInstanceUID): np.array(item.ImagePositionPatient, float) for item in items}


def plain_frames(file: Path) -> list[tuple[int, str, np.ndarray, np.ndarray]]:
    """Each frame of a SEG by plain pydicom: segment, referenced instance, position and its pixels (rows, columns)."""
    item = dcmread(file)
    bits = np.unpackbits(np.frombuffer(item.PixelData, np.uint8), bitorder="little")
    shape = int(item.NumberOfFrames), int(item.Rows), int(item.Columns)
    pixels = bits[: np.prod(shape)].reshape(shape).astype(bool)
    frames = []
    for groups, mask in zip(item.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        frames.append(
            (
                int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
                str(source.ReferencedSOPInstanceUID),
                np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float),
                mask,
            )
        )
    return frames
