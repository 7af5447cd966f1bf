"""Slice axis, orientation, spacing, 2-D or 3-D, and the 3-D patch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from preprocess.fingerprint.facts import SLICE_AXES
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import WORLD_SLICE_AXIS, Evidence
from preprocess.rules.kind import Kind, choice, numbers, takes

ORIENTATION_OF = {"axial": "PLS", "coronal": "ILP", "sagittal": "IPR", "none": ""}
"""Codes whose last axis is the slice axis and whose first two are display rows and columns."""

ANISOTROPY_RATIO = 1.5
"""Above it the coarse axis is the one the scanner stacked its slices along."""

NNUNET_ANISOTROPY_RATIO = 3.0
MIN_GAIN_OF_AXIS = 1.1
"""Another axis than axial must show so many times more structures per slice."""

MIN_SLICES_FOR_3D = 16
PATCH_VOXELS = {"cpu": 64**3, "gpu": 128**3}
PATCH_MULTIPLE = 16
CPU_COVERAGE = 1 / 6
"""Share of a median case that a CPU's patch covers at least. nnU-Net plans a coarser 3d_lowres below a quarter."""


def _is_orientation(value: Any) -> bool:
    if value == "":
        return True
    return (
        isinstance(value, str)
        and len(value) == 3
        and {WORLD_SLICE_AXIS.get(code) for code in value} == set(SLICE_AXES)
    )


ORIENTATION = Kind(what="three axis codes such as PLS, the slice axis last", fits=_is_orientation)


@takes(choice(*ORIENTATION_OF))
def choose_slice_axis(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """The axis along which a 2-D network walks: "axial", "coronal", "sagittal" or "none"."""
    if not evidence.has_orientation:
        what = {"picture": "The cases are pictures", "archive": "The cases are archives of ready slices"}
        start = what.get(evidence.file_format, "The files state no orientation")
        return Decision(value="none", reason=f"{start}; their last axis is taken as stored.")
    spacing = evidence.median_spacing
    coarse, ratio = spacing.index(max(spacing)), max(spacing) / sorted(spacing)[1]
    shown = _mm(spacing)
    if ratio >= ANISOTROPY_RATIO:
        axis = SLICE_AXES[coarse]
        reason = (
            f"Slices are {ratio:.1f} times farther apart along one axis (median spacing R-L, "
            f"A-P, S-I {shown} mm)"
            f": the scans were taken as {axis} slices."
        )
        return Decision(value=axis, reason=reason)
    if evidence.modality == "CT":
        return Decision(
            value="axial",
            reason=f"CT with nearly equal spacing ({shown} mm) is read in axial slices, by custom.",
        )
    return _axis_that_shows_most(evidence, shown)


def _axis_that_shows_most(evidence: Evidence, shown: str) -> Decision:
    per_slice = {
        axis: sum(label.slices.get(axis, 0.0) for label in evidence.labels.values()) for axis in SLICE_AXES
    }
    best = max(reversed(SLICE_AXES), key=lambda axis: per_slice[axis])
    axis = best if per_slice[best] >= MIN_GAIN_OF_AXIS * per_slice["axial"] else "axial"
    counts = ", ".join(f"{name} {per_slice[name]:.2f}" for name in reversed(SLICE_AXES))
    reason = (
        f"Spacing is nearly equal along all axes ({shown} mm), so any would do; structures "
        f"shown per slice: {counts}."
    )
    if axis != best:
        reason += f" The gain of {best} is under {MIN_GAIN_OF_AXIS - 1:.0%}, so axial, by custom."
    return Decision(value=axis, reason=reason)


@takes(ORIENTATION)
def choose_orientation(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """The nibabel axis codes every volume is turned to: (rows, cols, slices)."""
    axis = decided["slice_axis"]
    code = ORIENTATION_OF[axis]
    if not code:
        return Decision(value="", reason="No orientation is stated in the files, so none is imposed.")
    found = ", ".join(f"{name or 'none'} in {count}" for name, count in sorted(evidence.orientations.items()))
    reason = f"Rows, columns and slices of {axis} slices as radiologists read them; stored: {found} cases."
    return Decision(value=code, reason=reason)


def in_oriented_order(values: tuple, slice_axis: str) -> tuple:
    """Reorders world-order `values` (R-L, A-P, S-I) to (rows, cols, slices) of the planned orientation."""
    order = {"axial": (1, 0, 2), "coronal": (2, 0, 1), "sagittal": (2, 1, 0), "none": (0, 1, 2)}[slice_axis]
    return tuple(values[axis] for axis in order)


@takes(numbers(3, "three numbers in mm (rows, columns, slices) or null", 1e-6, or_null=True))
def choose_spacing(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Target spacing in mm, order (rows, cols, slices): the median; a very coarse axis by nnU-Net's rule; on a CPU so
    coarse that its patch shows enough of a case.

    nnU-Net: if one axis is more than 3 times coarser than both others and has less than a third of their
    voxels, its 10th percentile is taken instead, so that fine cases lose less.
    """
    spacing, shape = list(evidence.median_spacing), evidence.median_shape
    if not evidence.has_orientation:
        value = [round(mm, 4) for mm in spacing]
        return Decision(value=value, reason="No spacing is stated in the files: pixels are the unit.")
    worst = spacing.index(max(spacing))
    finer, wider = max(_others(spacing, worst)), min(_others(shape, worst))
    reason = f"The median over {len(evidence.spacings)} cases."
    if spacing[worst] > NNUNET_ANISOTROPY_RATIO * finer and shape[worst] * NNUNET_ANISOTROPY_RATIO < wider:
        median, tenth = spacing[worst], _tenth_percentile([row[worst] for row in evidence.spacings])
        spacing[worst] = max(min(tenth, median), finer + 1e-5)
        reason = (
            f"The median in plane; between {SLICE_AXES[worst]} slices, {median / finer:.1f} times coarser, "
            f"the 10th percentile ({tenth:.4g} mm) in place of the median ({median:.4g} mm), nnU-Net's rule."
        )
    if decided["target"] == "cpu":
        spacing, reason = _within_a_cpus_reach(evidence, spacing, reason)
    value = [round(mm, 6) for mm in in_oriented_order(tuple(spacing), decided["slice_axis"])]
    return Decision(value=value, reason=reason)


def _within_a_cpus_reach(evidence: Evidence, spacing: list[float], reason: str) -> tuple[list[float], str]:
    """Spacing in mm (R-L, A-P, S-I) at which a CPU's patch shows enough of a median case, and why."""
    extents = zip(evidence.median_shape, evidence.median_spacing, spacing, strict=True)
    shown = PATCH_VOXELS["cpu"] / math.prod(n * mm / new for n, mm, new in extents)
    if shown >= CPU_COVERAGE or evidence.median_shape[2] <= 1:
        return spacing, reason
    why = (
        f"{reason.rstrip('.')} would be {_mm(tuple(spacing))} mm (R-L, A-P, S-I), of which a CPU's patch of 64^3 "
        f"voxels shows {shown:.0%} of a median case: made coarser, the finest axes first, until it shows "
        f"{CPU_COVERAGE:.0%}, as nnU-Net's 3d_lowres. Networks of slices see every pixel all the same."
    )
    return _raised(spacing, CPU_COVERAGE / shown), why


def _raised(spacing: Sequence[float], excess: float) -> list[float]:
    """The finest axes brought to one length, mm, so that there are `excess` times fewer voxels."""
    order = sorted(range(3), key=spacing.__getitem__)
    for count in (1, 2, 3):
        level = (excess * math.prod(spacing[axis] for axis in order[:count])) ** (1 / count)
        if count == 3 or level <= spacing[order[count]]:
            break
    return [round(max(mm, level), 3) if axis in order[:count] else mm for axis, mm in enumerate(spacing)]


def _others(values: Sequence[float], axis: int) -> list[float]:
    return [value for index, value in enumerate(values) if index != axis]


def _tenth_percentile(values: Sequence[float]) -> float:
    """Linear between the neighbours, as numpy's default."""
    ordered, place = sorted(values), 0.1 * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@takes(choice("2d", "3d"))
def choose_dimension(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Which kind of network suits the data: "2d" or "3d"."""
    slices = in_oriented_order(evidence.median_shape, decided["slice_axis"])[2]
    spacing = in_oriented_order(evidence.median_spacing, decided["slice_axis"])
    ratio = spacing[2] / max(spacing[:2])
    if evidence.file_format == "picture" or slices <= 1:
        return Decision(value="2d", reason="The cases are single slices.")
    if slices < MIN_SLICES_FOR_3D:
        return Decision(
            value="2d", reason=f"A median case has {slices:.0f} slices, fewer than {MIN_SLICES_FOR_3D}."
        )
    if ratio > NNUNET_ANISOTROPY_RATIO:
        return Decision(
            value="2d",
            reason=f"Slices are {ratio:.1f} times farther apart than pixels: neighbours tell little.",
        )
    reason = (
        f"A median case has {slices:.0f} slices, {ratio:.1f} pixels apart: a 3-D network could "
        "use the neighbours."
    )
    return Decision(value="3d", reason=reason)


@takes(numbers(3, "three whole numbers (rows, columns, slices) or null", 1, or_null=True))
def choose_patch_3d(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Patch of a 3-D network in voxels (rows, cols, slices), multiples of 16; None for single slices."""
    shape = in_oriented_order(evidence.median_shape, decided["slice_axis"])
    if evidence.file_format == "picture" or shape[2] <= 1:
        return Decision(value=None, reason="The cases are single slices; there is no 3-D patch.")
    resampled, spacing = resampled_extents(evidence, decided)
    budget = PATCH_VOXELS[decided["target"]]
    side_mm = (budget * math.prod(spacing)) ** (1 / 3)
    patch = [_multiple(min(side_mm / mm, n)) for mm, n in zip(spacing, resampled, strict=True)]
    while math.prod(patch) > budget and max(patch) > PATCH_MULTIPLE:
        patch[patch.index(max(patch))] -= PATCH_MULTIPLE
    extents = " x ".join(f"{extent:.0f}" for extent in resampled)
    reason = (
        f"As near to a cube in mm as {budget ** (1 / 3):.0f}^3 voxels ({decided['target']}) "
        "and the median case "
        f"({extents} voxels) allow, in multiples of {PATCH_MULTIPLE}."
    )
    return Decision(value=patch, reason=reason)


def resampled_extents(evidence: Evidence, decided: Mapping[str, Any]) -> tuple[list[float], Sequence[float]]:
    """Voxels of a median case at the decided spacing, or at its own, and that spacing in mm (rows, cols, slices)."""
    shape = in_oriented_order(evidence.median_shape, decided["slice_axis"])
    native = in_oriented_order(evidence.median_spacing, decided["slice_axis"])
    spacing = decided["spacing"] or native
    return [n * mm / target for n, mm, target in zip(shape, native, spacing, strict=True)], spacing


def _multiple(voxels: float) -> int:
    """The next multiple of 16."""
    return max(1, math.ceil(round(voxels, 6) / PATCH_MULTIPLE)) * PATCH_MULTIPLE


def _mm(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing)
