"""The input of networks of slices, and how many slices they take at once."""

from collections.abc import Mapping
from math import isclose, log
from typing import Any

from pgsam_monai.base.labels import class_of
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import PATCH
from preprocess.rules.evidence import Evidence
from preprocess.rules.geometry import in_oriented_order
from preprocess.rules.kind import choice, takes, whole

LOW_RES_STRIDE = 4
"""The decoder's own masks are 4 times smaller than its input."""

MIN_SPAN = 4.0
"""Pixels of the low-resolution mask that the smallest structure should span."""

SMALL_SIZE, LARGE_SIZE = 224, 512
CPU_BATCH = 12
GPU_BATCH = 24
"""SAMed's batch; also enough for `vit_l` to be preferred over `vit_b`."""

CPU_INFERENCE_BATCH = 16
MAX_GPU_INFERENCE_BATCH = 32


def field_of_view_mm(evidence: Evidence, slice_axis: str) -> float:
    """The longer in-plane side of the median case in mm (in pixels for pictures)."""
    shape = in_oriented_order(evidence.median_shape, slice_axis)
    spacing = in_oriented_order(evidence.median_spacing, slice_axis)
    return max(shape[0] * spacing[0], shape[1] * spacing[1])


def structure_spans(evidence: Evidence, *, slice_axis: str, image_size: int) -> dict[int, float]:
    """Label value -> pixels of the low-resolution mask that the structure's shorter side spans (median
    over cases)."""
    pixels_per_mm = image_size / LOW_RES_STRIDE / field_of_view_mm(evidence, slice_axis)
    return {
        value: label.in_plane_mm[slice_axis][0] * pixels_per_mm
        for value, label in evidence.labels.items()
        if slice_axis in label.in_plane_mm
    }


@takes(whole(PATCH, PATCH))
def choose_image_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Input side in pixels: 224, or 512 where the smallest structure would be lost in the mask at 224."""
    small = structure_spans(evidence, slice_axis=decided["slice_axis"], image_size=SMALL_SIZE)
    small = {value: span for value, span in small.items() if class_of(decided["labels"], value)}
    if not small:
        return Decision(value=SMALL_SIZE, reason="No structure could be measured; the quicker size is taken.")
    smallest = min(small, key=small.__getitem__)
    span, large_span = small[smallest], small[smallest] * LARGE_SIZE / SMALL_SIZE
    name = decided["label_names"][class_of(decided["labels"], smallest)]
    measured = (
        f"The smallest structure, {name}, would span {span:.1f} pixels of the network's "
        "low-resolution mask at "
        f"{SMALL_SIZE} and {large_span:.1f} at {LARGE_SIZE}; at least {MIN_SPAN:.0f} are wanted"
    )
    if span >= MIN_SPAN:
        return Decision(value=SMALL_SIZE, reason=f"{measured}, so {SMALL_SIZE} is enough.")
    if decided["target"] == "cpu":
        reason = (
            f"{measured}. But on a CPU {LARGE_SIZE} costs over 5 times the time: {SMALL_SIZE}; "
            "override it if you can wait."
        )
        return Decision(value=SMALL_SIZE, reason=reason)
    doubt = (
        ""
        if large_span >= MIN_SPAN
        else " Even so it stays below that: expect this structure to be the hard one."
    )
    return Decision(value=LARGE_SIZE, reason=f"{measured}, so {LARGE_SIZE}.{doubt}")


@takes(choice("pad", "stretch"))
def choose_fit(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How a slice becomes square: "pad" (aspect of pixels kept) or "stretch", whichever leaves shapes truer in mm."""
    rows, cols, _ = in_oriented_order(evidence.median_shape, decided["slice_axis"])
    row_mm, col_mm, _ = in_oriented_order(evidence.median_spacing, decided["slice_axis"])
    padded, stretched = row_mm / col_mm, rows * row_mm / (cols * col_mm)
    size = f"A median slice has {rows:.0f} x {cols:.0f} pixels"
    if abs(log(stretched)) < abs(log(padded)):
        reason = (
            f"{size} of {row_mm:.2g} x {col_mm:.2g} mm; stretched to a square, shapes are truer (heights "
            f"{stretched:.2g} times what they are beside widths) than with pixels kept square ({padded:.2g} times)."
        )
        return Decision(value="stretch", reason=reason)
    stay = (
        "shapes stay true"
        if isclose(padded, 1, rel_tol=0.02)
        else "shapes are truer than stretched to a square"
    )
    return Decision(value="pad", reason=f"{size}; scaled with its aspect kept and zero-padded, {stay}.")


@takes(whole(1))
def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Slices per forward pass without gradients."""
    if decided["target"] == "cpu":
        return Decision(value=CPU_INFERENCE_BATCH, reason="Larger batches gain nothing on a CPU.")
    value = min(MAX_GPU_INFERENCE_BATCH, 2 * decided["batch_size"])
    return Decision(
        value=value, reason="Twice the training batch, since nothing is kept for gradients; at most 32."
    )


INPUT_RULES = {"image_size": choose_image_size, "fit": choose_fit}
