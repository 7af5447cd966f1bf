"""The input of networks of slices, and how many slices they take at once."""

from collections.abc import Mapping
from math import ceil, isclose, log
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
SIZE_STEP, LEAST_SIZE = 32, 64
"""Below 224: what every network of slices takes, SwinUNETR being the choosiest."""

ENLARGED = 2.5
"""Times that a slice's pixels are enlarged at least, below 224. SAMed's Dice on Hippocampus after 2.5 CPU minutes of
steps: 0.869 at 2.6 times (128 pixels), 0.865 at 1.9 (96); after 6 minutes at 224 0.863 (docs/results.md)."""

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
    """Input side in pixels: 224; 512 where the smallest structure would be lost in the mask at 224; on a CPU less than
    224 where slices have too few pixels to fill it."""
    small = structure_spans(evidence, slice_axis=decided["slice_axis"], image_size=SMALL_SIZE)
    small = {value: span for value, span in small.items() if class_of(decided["labels"], value)}
    if not small:
        return Decision(value=SMALL_SIZE, reason="No structure could be measured; the quicker size is taken.")
    smallest = min(small, key=small.__getitem__)
    name, span = decided["label_names"][class_of(decided["labels"], smallest)], small[smallest]
    grid = in_oriented_order(evidence.median_shape, decided["slice_axis"])[:2]
    largest = max(max(in_oriented_order(shape, decided["slice_axis"])[:2]) for shape in evidence.shapes)
    filled = filling_size(max(grid), span, largest)
    if filled >= SMALL_SIZE:
        return _by_structure(name, span, cpu=decided["target"] == "cpu")
    size = f"A median slice has {grid[0]:.0f} x {grid[1]:.0f} pixels only"
    if decided["target"] != "cpu":
        reason = (
            f"{size}, which {filled} would hold; but SAM's pretrained encoders see tokens of {PATCH} pixels, and "
            f"{SMALL_SIZE} is the least that SAMed and H-SAM were published for."
        )
        return Decision(value=SMALL_SIZE, reason=reason)
    return Decision(value=filled, reason=f"{size}: {_filled(name, span, filled, max(grid))}")


def filling_size(grid: float, span: float, largest: float) -> int:
    """Input side in pixels, a multiple of 32 from 64 on, beyond which enlarging slices shows nothing more.

    Args:
        grid: the longer side of a median slice in pixels.
        span: pixels of the low-resolution mask at 224 that the smallest structure spans. It should span `MIN_SPAN`,
            but a mask needs no more pixels than the slice has.
        largest: the longer side of the largest slice in pixels; none is to be shrunk.
    """
    for_structure = min(SMALL_SIZE * MIN_SPAN / span, LOW_RES_STRIDE * grid)
    wanted = max(ENLARGED * grid, for_structure, largest)
    return max(LEAST_SIZE, SIZE_STEP * ceil(round(wanted / SIZE_STEP, 6)))


def _filled(name: str, span: float, size: int, grid: float) -> str:
    """Why `size` below 224 is enough."""
    there = span * size / SMALL_SIZE
    wanted = (
        f"at least {MIN_SPAN:.0f} are wanted"
        if there >= MIN_SPAN
        else "less than wanted, but a pixel of it is no larger than one of the slice"
    )
    return (
        f"enlarged {size / grid:.1f} times, to {size}, they show what they hold, and the smallest structure, {name}, "
        f"spans {there:.1f} pixels of the network's low-resolution mask; {wanted}. "
        f"{SMALL_SIZE} would have {(SMALL_SIZE / size) ** 2:.1f} times as many pixels."
    )


def _by_structure(name: str, span: float, *, cpu: bool) -> Decision:
    """224 or 512, by what the smallest structure spans of the low-resolution mask at 224."""
    large_span = span * LARGE_SIZE / SMALL_SIZE
    measured = (
        f"The smallest structure, {name}, would span {span:.1f} pixels of the network's "
        "low-resolution mask at "
        f"{SMALL_SIZE} and {large_span:.1f} at {LARGE_SIZE}; at least {MIN_SPAN:.0f} are wanted"
    )
    if span >= MIN_SPAN:
        return Decision(value=SMALL_SIZE, reason=f"{measured}, so {SMALL_SIZE} is enough.")
    if cpu:
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


@takes(choice("linear", "cubic", "cubic_224"))
def choose_sampling(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How slices come to the input's size: "linear", or "cubic" as the papers' code ("cubic_224": by way of 224)."""
    return Decision(
        value="linear",
        reason="On pixel centres, antialiased where it shrinks; the papers' cubic spline from corner to corner isn't.",
    )


@takes(whole(1))
def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Slices per forward pass without gradients."""
    if decided["target"] == "cpu":
        return Decision(value=CPU_INFERENCE_BATCH, reason="Larger batches gain nothing on a CPU.")
    value = min(MAX_GPU_INFERENCE_BATCH, 2 * decided["batch_size"])
    return Decision(
        value=value, reason="Twice the training batch, since nothing is kept for gradients; at most 32."
    )


INPUT_RULES = {"image_size": choose_image_size, "fit": choose_fit, "sampling": choose_sampling}
