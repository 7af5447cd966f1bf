"""Slices that make no even, straight volume, told in one sentence each: what was found, with numbers, and a remedy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pgsam_monai.base.dicom.headers import DicomError, Slice, names_of

ANGLE_TOLERANCE = 0.1
"""degrees between two slices' axes, above which they aren't parallel; a pixel across 512"""
SPACING_TOLERANCE = 1e-3
"""relative, between two slices' pixel sizes"""
DRIFT_TOLERANCE = 1.0
"""pixels that the last slice may lie off the first one's normal"""
OFF_PLACE_TOLERANCE = 0.3
"""slice distances that a slice may lie off an even grid; a single missing slice makes a third at least"""
GAP_TOLERANCE = 0.05
"""relative difference of neighbouring slice distances that is worth a note"""
SAME_PLACE = 0.01
"""of the usual slice distance: two slices nearer to each other than this lie at one place"""
TELLING = {
    "TemporalPositionIdentifier": "temporal position", "EchoTime": "echo time", "DiffusionBValue": "b-value",
    "InversionTime": "inversion time", "TriggerTime": "trigger time", "ConvolutionKernel": "kernel",
    "KVP": "tube voltage", "ContrastBolusAgent": "contrast agent", "ImageType": "image type",
    "AcquisitionNumber": "acquisition number", "AcquisitionTime": "acquisition time", "ContentTime": "content time",
}  # fmt: skip
"""what may tell slices at one place apart, the most telling first"""


def check_planes(slices: Sequence[Slice]) -> None:
    """Raises DicomError unless the slices, in any order, have places, one size and one orientation."""
    without = [item for item in slices if item.position is None or item.directions is None]
    if without:
        raise DicomError(
            f"{len(without)} of {len(slices)} slices have no place in the patient ({names_of(without)}; Image Position "
            "or Image Orientation is missing); radiographs and other single images are given one by one"
        )
    _check_sizes(slices)
    _check_directions(slices)


def check_stack(slices: Sequence[Slice]) -> None:
    """Raises DicomError for slices, sorted along their normal, that don't fill an even grid at right angles."""
    _check_places(slices)
    _check_distances(slices)
    _check_drift(slices)


def uneven_note(slices: Sequence[Slice]) -> list[str]:
    """A note when the distances between neighbouring slices differ, though no slice is missing."""
    steps = np.diff(_depths(slices))
    if steps.max() - steps.min() <= GAP_TOLERANCE * np.median(steps):
        return []
    return [
        f"slices are unevenly spaced ({steps.min():.3g} to {steps.max():.3g} mm): the mean distance is used"
    ]


def _check_sizes(slices: Sequence[Slice]) -> None:
    sizes = defaultdict(list)
    for item in slices:
        sizes[int(item.header.Columns), int(item.header.Rows)].append(item)
    if len(sizes) > 1:
        usual, *_, odd = sorted(sizes, key=lambda size: -len(sizes[size]))
        raise DicomError(
            f"slices of several sizes: {names_of(sizes[odd])} has {odd[0]} x {odd[1]} pixels, most have {usual[0]} x "
            f"{usual[1]}; give each size its own folder"
        )
    first = slices[0]
    for item in slices:
        ours, theirs = first.spacing, item.spacing
        if ours is None or theirs is None or not np.allclose(theirs, ours, rtol=SPACING_TOLERANCE, atol=0):
            raise DicomError(
                f"pixels of several sizes, or of none: {item.file.name} has {_mm(item.spacing)}, {first.file.name} "
                f"{_mm(first.spacing)}; give each size its own folder"
            )


def _mm(spacing: np.ndarray | None) -> str:
    return "no Pixel Spacing" if spacing is None else " x ".join(f"{mm:.4g}" for mm in spacing) + " mm"


def _check_directions(slices: Sequence[Slice]) -> None:
    first = slices[0]
    directions = np.array([item.directions for item in slices])  # (n, 2, 3)
    cosines = (directions * directions[0]).sum(axis=2).min(axis=1)
    degrees = np.degrees(np.arccos(cosines.clip(-1, 1)))
    odd = [item for item, angle in zip(slices, degrees, strict=True) if angle > ANGLE_TOLERANCE]
    if odd:
        raise DicomError(
            f"slices of several orientations: {len(odd)} of {len(slices)} ({names_of(odd)}) are turned by up to "
            f"{degrees.max():.1f} degrees against {first.file.name}; give each orientation its own folder"
        )


def _depths(slices: Sequence[Slice]) -> np.ndarray:
    """(n,) mm along the first slice's normal."""
    return np.array([item.position for item in slices]) @ slices[0].normal


def _check_places(slices: Sequence[Slice]) -> None:
    depths = _depths(slices)
    steps = np.diff(depths)
    moved = steps[steps > 1e-3]
    same = np.flatnonzero(steps <= (SAME_PLACE * np.median(moved) if len(moved) else 1e-3))
    if not len(same):
        return
    pair = [slices[same[0]], slices[same[0] + 1]]
    who = f"{names_of(pair)}, both at {depths[same[0]]:.4g} mm"
    if len({str(item.header.get("SOPInstanceUID")) for item in slices}) < len(slices):
        raise DicomError(f"slices are there twice ({who}): copies of one file; remove them")
    raise DicomError(
        f"{len(slices)} slices at {len(slices) - len(same)} places ({who}{_difference(*pair)}): several phases, echoes "
        "or reconstructions in one series; give each its own folder"
    )


def _difference(one: Slice, other: Slice) -> str:
    """What tells two slices at one place apart, if the headers say."""
    for keyword, words in TELLING.items():
        values = [item.header.get(keyword) for item in (one, other)]
        if values[0] != values[1] and None not in values:
            return f", {words} {values[0]} and {values[1]}"
    return ""


def _check_distances(slices: Sequence[Slice]) -> None:
    depths = _depths(slices)
    steps = np.diff(depths)
    usual = np.median(steps)
    off = np.abs(depths - np.linspace(depths[0], depths[-1], len(depths)))
    if off.max() <= OFF_PLACE_TOLERANCE * usual:
        return
    widest = int(np.argmax(steps))
    pair = names_of(slices[widest : widest + 2])
    raise DicomError(
        f"slices are unevenly spaced ({steps.min():.3g} to {steps.max():.3g} mm, widest between {pair}): slices are "
        f"missing, or the scan changes its distance, and on an even grid a slice would lie {off.max():.3g} mm off its "
        "place; copy the whole series again, or make the distances even (3D Slicer: acquisition geometry "
        "regularization; dcm2niix: its _Eq file)"
    )


def _check_drift(slices: Sequence[Slice]) -> None:
    first, last = slices[0], slices[-1]
    way = np.asarray(last.position) - np.asarray(first.position)
    along = float(first.normal @ way)
    sideways = float(np.linalg.norm(way - along * first.normal))
    most = DRIFT_TOLERANCE * np.asarray(first.spacing).min()
    if sideways <= most:
        return
    tilt = first.header.get("GantryDetectorTilt")
    raise DicomError(
        f"slices are stacked at a slant of {np.degrees(np.arctan2(sideways, along)):.1f} degrees"
        f"{f' (gantry tilt {float(tilt):.1f})' if tilt else ''}: from the first to the last they shift by "
        f"{sideways:.1f} mm sideways, at most {most:.2g} mm (a pixel) fit a grid of "
        "right angles; straighten the scan (dcm2niix: its _Tilt file; 3D Slicer: acquisition geometry regularization)"
    )
