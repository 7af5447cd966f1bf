"""Metrics of one case.

Protocols, by name:

`mm`       Dice, HD95 in mm and normalised surface Dice at a tolerance in mm. A class that neither prediction
           nor reference holds is left out (all NaN, outcome "absent"). A class that only one of them holds
           scores Dice 0 and surface Dice 0; its HD95 does not exist and is NaN, and the outcome "missed" or
           "spurious" is counted, so that a good HD95 beside missed organs can be seen for what it is.
`papers`   the numbers of TransUNet, SAMed, H-SAM and PG-SAM: Dice and HD95 in voxels, spacing ignored, over
           the whole volume. Predicted without reference: Dice 1, HD95 0. Every other empty case, a missed
           organ included: Dice 0, HD95 0. Missing an organ therefore lowers HD95; compare with papers only. It
           measures label maps that were made as these papers make them (`inference.papers`).
`synapse`  of earlier versions: the papers' measures, but of our label maps, made of logits on the image's own grid.
           Its Dice is the higher one: at 224 for slices of 512, by half a point for large organs and by five for
           small ones. It compares with no paper.

By all of them a class that the reference wasn't searched for has no scores (all NaN, outcome "unlabelled"), and voxels
that nobody labelled count for no class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import values_of
from pgsam_monai.metrics.surfaces import measure_surfaces, voxel_hausdorff_95

MM, PAPERS, OF_OURS = "mm", "papers", "synapse"
PROTOCOLS = {
    MM: "Protocol 'mm'",
    PAPERS: "Protocol 'papers': their label maps, measured as they do",
    OF_OURS: "The papers' measures of our label maps ('synapse' of earlier versions)",
}
"""What tables call them."""
NAN = float("nan")


def without_papers(protocol: str) -> str:
    """The protocol for answers of which the papers' code knows nothing: those of ensembles, and on other data sets."""
    return MM if protocol == PAPERS else protocol


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """Metrics of one class in one case."""

    label: str
    value: int
    """label value in the prediction's file; the first of several"""
    outcome: str
    """found: both hold it; missed: only the reference; spurious: only the prediction; absent: neither; unlabelled: the
    reference wasn't searched for it"""
    dice: float
    """0 to 1"""
    hd95: float
    """mm; voxels in the papers' protocol"""
    nsd: float
    """normalised surface Dice, 0 to 1; NaN in the papers' protocol"""
    prediction_ml: float
    reference_ml: float


@dataclass(frozen=True, kw_only=True)
class CaseMetrics:
    """Metrics of all classes in one case, background left out."""

    name: str
    protocol: str
    tolerance_mm: float
    classes: tuple[ClassMetrics, ...]


def evaluate_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    labels: Mapping[str, int | Sequence[int]],
    reference_labels: Mapping[str, int | Sequence[int]] | None = None,
    spacing: Sequence[float],
    protocol: str = MM,
    tolerance_mm: float = 2.0,
    name: str = "",
    labelled: Sequence[int] | None = None,
    ignore: int | None = None,
) -> CaseMetrics:
    """Compare two label maps of the same shape (2 or 3 axes), `spacing` in mm per axis.

    `labels` maps class names to values, background excluded, or to lists of values that are one class; classes may
    share values, as an optic disc and the cup in it do. Other values count as background. `reference_labels` says
    it of the reference where that has other values for the same classes, as another data set has. `labelled` are the
    reference's values that were looked for, None for all: a class with another value is "unlabelled". Voxels where the
    reference is `ignore` count for no class. An axis of one
    voxel is dropped, so that a single slice is measured by its contour and not by its flat faces. Use a
    tolerance of 5 mm for the RefSAM3D and 3DSAM-adapter figures. Raises ValueError for unknown protocols,
    unequal shapes, a spacing that does not fit, a negative tolerance, and labels of unlike classes.
    """
    _check(prediction, reference, spacing, protocol, tolerance_mm)
    referred_labels = _of_reference(labels, reference_labels)
    if labelled is not None or ignore is not None:
        outside = reference == ignore if ignore is not None else None
        whole = evaluate_case(
            _without(prediction, outside, labels), _without(reference, outside, referred_labels), labels=labels,
            reference_labels=reference_labels, spacing=spacing, protocol=protocol, tolerance_mm=tolerance_mm, name=name,
        )  # fmt: skip
        return whole if labelled is None else _only_labelled(whole, referred_labels, labelled)
    millilitres = math.prod(spacing) / 1000
    kept = [axis for axis, size in enumerate(reference.shape) if size > 1]
    if protocol == MM and len(kept) == 2:
        shape = [reference.shape[axis] for axis in kept]
        prediction, reference = prediction.reshape(shape), reference.reshape(shape)
        spacing = [spacing[axis] for axis in kept]
    if _overlap(labels) or _overlap(referred_labels):
        common = {"spacing": spacing, "protocol": protocol, "tolerance_mm": tolerance_mm, "name": name}
        each = [({label: labels[label]}, {label: referred_labels[label]}) for label in labels]
        alone = [
            evaluate_case(prediction, reference, labels=one, reference_labels=other, **common)
            for one, other in each
        ]
        return replace(alone[0], classes=tuple(case.classes[0] for case in alone))
    predicted, referred = _indices(prediction, labels), _indices(reference, referred_labels)
    joint = _joint_counts(predicted, referred, len(labels))
    boxes = [ndimage.find_objects(array, max_label=len(labels)) for array in (predicted, referred)]
    rows = []
    for index, (label, value) in enumerate(labels.items(), start=1):
        sizes = int(joint[index].sum()), int(joint[:, index].sum())
        dice = 2 * int(joint[index, index]) / sum(sizes) if sum(sizes) else NAN
        box = _union(boxes[0][index - 1], boxes[1][index - 1])
        masks = None if box is None or 0 in sizes else (predicted[box] == index, referred[box] == index)
        measure = _millimetres if protocol == MM else _voxels
        scores = measure(dice, sizes, masks, spacing, tolerance_mm)
        ml = dict(prediction_ml=sizes[0] * millilitres, reference_ml=sizes[1] * millilitres)
        first = values_of(value)[0]
        rows.append(ClassMetrics(label=label, value=first, outcome=_outcome(*sizes), **scores, **ml))
    return CaseMetrics(name=name, protocol=protocol, tolerance_mm=tolerance_mm, classes=tuple(rows))


def dice_of_masks(found: np.ndarray, true: np.ndarray, total: int | None = None) -> float:
    """Dice of two bool masks of one shape; NaN where both are empty.

    `total`: voxels of the whole reference, where `true` is a part of it that holds all of `found`.
    """
    both = int(found.sum()) + (int(true.sum()) if total is None else total)
    return 2 * int((found & true).sum()) / both if both else NAN


def _millimetres(dice: float, sizes, masks, spacing, tolerance_mm: float) -> dict[str, float]:
    if masks is None:
        return dict(dice=dice, hd95=NAN, nsd=0.0 if sum(sizes) else NAN)
    distances = measure_surfaces(*masks, spacing)
    return dict(dice=dice, hd95=distances.hausdorff(95), nsd=distances.normalised_surface_dice(tolerance_mm))


def _voxels(dice: float, sizes, masks, spacing, tolerance_mm: float) -> dict[str, float]:
    if masks is None:
        return dict(dice=1.0 if sizes[0] else 0.0, hd95=0.0, nsd=NAN)
    return dict(dice=dice, hd95=voxel_hausdorff_95(*masks), nsd=NAN)


def _outcome(prediction_voxels: int, reference_voxels: int) -> str:
    if prediction_voxels and reference_voxels:
        return "found"
    if reference_voxels:
        return "missed"
    return "spurious" if prediction_voxels else "absent"


def _without(
    label_map: np.ndarray, outside: np.ndarray | None, labels: Mapping[str, int | Sequence[int]]
) -> np.ndarray:
    """The label map with a value of no class where `outside` is true."""
    if outside is None:
        return label_map
    free = max(value for entry in labels.values() for value in values_of(entry)) + 1
    return np.where(outside, np.int64(free), label_map)


def _only_labelled(case: CaseMetrics, labels: Mapping, labelled: Sequence[int]) -> CaseMetrics:
    """Scores of the classes whose values were all looked for; of the others that they aren't known."""
    unknown = dict(outcome="unlabelled", dice=NAN, hd95=NAN, nsd=NAN, reference_ml=NAN)
    looked_for = set(labelled)
    rows = [
        row if looked_for.issuperset(values_of(labels[row.label])) else replace(row, **unknown)
        for row in case.classes
    ]
    return replace(case, classes=tuple(rows))


def _of_reference(labels: Mapping, reference_labels: Mapping | None) -> Mapping[str, int | Sequence[int]]:
    """The reference's values, in the order of `labels`."""
    if reference_labels is None:
        return labels
    if reference_labels.keys() != labels.keys():
        raise UserFault(
            f"reference_labels must name the classes of labels ({', '.join(labels)}), got "
            f"{', '.join(reference_labels)}."
        )
    return {label: reference_labels[label] for label in labels}


def _overlap(labels: Mapping[str, int | Sequence[int]]) -> bool:
    values = [value for entry in labels.values() for value in values_of(entry)]
    return len(set(values)) < len(values)


def _indices(array: np.ndarray, labels: Mapping[str, int | Sequence[int]]) -> np.ndarray:
    """Class indices 1..K in the order of `labels`, 0 for every other value."""
    indices = np.zeros_like(array, np.uint8 if len(labels) < 256 else np.uint16)
    for index, entry in enumerate(labels.values(), start=1):
        for value in values_of(entry):
            indices[array == value] = index
    return indices


def _joint_counts(predicted: np.ndarray, referred: np.ndarray, num_classes: int) -> np.ndarray:
    """(K+1, K+1) voxels by predicted (rows) and reference (columns) class."""
    size = num_classes + 1
    pairs = predicted.astype(np.int32) * size + referred
    return np.bincount(pairs.ravel(order="K"), minlength=size * size).reshape(size, size)


def _union(first: tuple[slice, ...] | None, second: tuple[slice, ...] | None) -> tuple[slice, ...] | None:
    if first is None or second is None:
        return first or second
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def _check(prediction, reference, spacing, protocol: str, tolerance_mm: float) -> None:
    if protocol not in PROTOCOLS:
        raise UserFault(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
    if prediction.shape != reference.shape:
        raise UserFault(
            f"prediction shape {prediction.shape} and reference shape {reference.shape} differ; "
            "bring the prediction onto the reference's grid."
        )
    if len(spacing) != reference.ndim or min(spacing) <= 0:
        raise UserFault(
            f"spacing must be one positive length in mm per axis of {reference.shape}, got {spacing}."
        )
    if not tolerance_mm >= 0:
        raise UserFault(f"tolerance_mm must be 0 or more, got {tolerance_mm}.")
