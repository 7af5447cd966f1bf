"""Does the label lie on its image? One measure for spacing, origin and direction together: how far apart the
two headers put the corners of the volume, in voxels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pgsam_monai.base.volume.records import apart_mm
from preprocess.checks.faults import FATAL, WARNING, Fault
from preprocess.fingerprint.facts import CaseFacts

SILENT_VOXELS = 0.05
"""Rounding of headers stays below this: cosines off by 2e-8, spacings stored in single precision."""
FATAL_VOXELS = 1.0
"""From here a label belongs to other voxels."""


def check_geometry(case: CaseFacts) -> Iterator[Fault]:
    """At most one fault: shape, or whichever of spacing, origin and direction moves the label most."""
    if case.label_shape is None:
        return
    if case.label_shape != case.shape:
        yield Fault(
            level=FATAL,
            rule="shape mismatch",
            case=case.name,
            file=case.label_file,
            found=f"image shape {case.shape} and label shape {case.label_shape} differ",
            consequence="voxels and labels cannot be matched",
            remedy="export the label again on the image's grid, or resample it to that (nearest neighbour)",
        )
        return
    shift = corner_shift(case)
    if shift > SILENT_VOXELS:
        yield _misplaced(case, shift)


def corner_shift(case: CaseFacts) -> float:
    """Largest distance between a corner of the volume by the image's affine and by the label's, in units of
    the image's smallest voxel side."""
    return apart_mm(case.affine, case.label_affine, case.shape) / min(case.spacing)


def _misplaced(case: CaseFacts, shift: float) -> Fault:
    part, found = _largest_part(case)
    rule = f"{part} mismatch"
    if shift > FATAL_VOXELS:
        return Fault(
            level=FATAL,
            rule=rule,
            case=case.name,
            file=case.label_file,
            found=f"{found}; the label lies up to {shift:.3g} voxels off",
            consequence="the label marks other tissue than was meant",
            remedy="resample the label to the image's grid, or give it the image's header if voxels match",
        )
    return Fault(
        level=WARNING,
        rule=rule,
        case=case.name,
        file=case.label_file,
        found=f"{found}; the label lies up to {shift:.2g} voxels off",
        consequence="the image's grid is used for both, voxel by voxel",
        remedy="nothing needs to be done where the voxels match; look at an overlay in the report",
    )


def _largest_part(case: CaseFacts) -> tuple[str, str]:
    """Which of spacing, direction and origin moves the label most, and its numbers."""
    image, label = np.array(case.affine), np.array(case.label_affine)
    image_mm, label_mm = np.array(case.spacing), np.array(case.label_spacing)
    extent = image_mm * (np.array(case.shape) - 1)
    directions = image[:3, :3] / image_mm, label[:3, :3] / np.where(label_mm == 0, 1, label_mm)
    moved = {
        "spacing": float(np.abs((label_mm / image_mm - 1) * extent).max()),
        "direction": float((np.linalg.norm(directions[1] - directions[0], axis=0) * extent).max()),
        "origin": float(np.linalg.norm(image[:3, 3] - label[:3, 3])),
    }
    if moved["direction"] > 0.1 * max(moved.values()):  # turned axes move the origin too
        part = "direction"
    else:
        part = max(moved, key=moved.get)
    if part == "spacing":
        return part, f"image spacing {_listed(image_mm)} mm, label spacing {_listed(label_mm)} mm"
    if part == "origin":
        return part, f"image origin {_listed(image[:3, 3])} mm, label origin {_listed(label[:3, 3])} mm"
    cosines = np.clip((directions[0] * directions[1]).sum(axis=0), -1, 1)
    degrees = np.degrees(np.arccos(cosines))
    return part, f"axes turned by {_listed(degrees)} degrees against the image's ({case.orientation})"


def _listed(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
