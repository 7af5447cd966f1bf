"""Boxes around structures, exact, jittered, or at a stated overlap.

A box over pixels r0..r1 and c0..c1, both ends included, is (x0, y0, x1, y1) = (c0, r0, c1, r1): corners are
pixel centres, as SAM and MedSAM take them. Areas count whole pixels, so the box above is c1 - c0 + 1 wide;
float corners count the same way.

Med-SA tests "BBox 0.5" and "BBox 0.75", boxes "with 50 % overlapping of the target" (section 4.2), and never
says what overlap is. Here it is the IoU of the box with the tight box around the structure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pgsam_monai.base.errors import UserFault

DRAWS = 16
"""random directions tried for a box of a stated IoU before the plain ones: all outwards, all inwards"""
STEPS = 60
"""halvings of the range of magnitudes before a direction is given up"""
TOLERANCE = 1e-6
"""of the IoU"""


class PixelBox(NamedTuple):
    """Whole pixels, both ends included."""

    row0: int
    col0: int
    row1: int
    col1: int


class Box(NamedTuple):
    """Upper left and lower right corner, pixel centres at integers, x along columns; x0 <= x1, y0 <= y1."""

    x0: float
    y0: float
    x1: float
    y1: float


def tight_box(mask: np.ndarray) -> PixelBox | None:
    """The smallest box that holds a mask (H, W) of bool; None for an empty one."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return PixelBox(int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1]))


def corners(box: PixelBox) -> Box:
    """The same box as corners (x, y)."""
    return Box(float(box.col0), float(box.row0), float(box.col1), float(box.row1))


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, whole pixels counted: Box(2, 2, 2, 2) has area 1."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0) + 1
    height = min(one.y1, other.y1) - max(one.y0, other.y0) + 1
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(one) + _area(other) - shared)


def box_with_iou(
    target: np.ndarray | PixelBox, iou: float, *, rng: np.random.Generator, shape: tuple[int, int]
) -> Box:
    """A random box whose IoU with the tight box of `target` is `iou` to 1e-6.

    Each side moves by a normal draw times the box's own side, in or out, so that boxes shift, grow and
    shrink; how far they move in all is then solved for, which has one solution because the IoU only falls
    on the way. A side that meets the image's border stays there and the others move on. Where a direction
    can't reach the IoU (no room outside, or a side would get shorter than one pixel) another is drawn; the
    last two are all sides outwards and all inwards.

    Args:
        target: the structure's mask (H, W) of bool, or its tight box.
        iou: above 0, at most 1.
        shape: (H, W) of the image; the box stays inside, 0 <= x <= W - 1.
    Raises:
        ValueError: an IoU out of range, an empty mask, or an image without any such box.
    """
    if not 0 < iou <= 1:
        raise UserFault(f"box_with_iou: iou must be above 0 and at most 1, got {iou}.")
    tight = target if isinstance(target, PixelBox) else tight_box(target)
    if tight is None:
        raise UserFault("box_with_iou: the mask is empty; ask for boxes of present structures only.")
    exact = corners(tight)
    if iou == 1:
        return exact
    outwards = np.array([-1.0, -1.0, 1.0, 1.0])
    for moves in (*rng.standard_normal((DRAWS, 4)), outwards, -outwards):
        box = _moved_to_iou(exact, moves, iou, shape)
        if box is not None:
            return box
    raise UserFault(f"box_with_iou: no box in an image of {shape} pixels has IoU {iou} with {exact}.")


def jittered_box(
    target: PixelBox,
    *,
    rng: np.random.Generator,
    shape: tuple[int, int],
    share: float = 0.1,
    limit_px: float = 20.0,
) -> Box:
    """The tight box with every coordinate moved by normal noise, as SAM trains (appendix A): standard
    deviation `share` of the box's side, noise cut at `limit_px` pixels; clipped to the image (H, W)."""
    sides = np.array([target.col1 - target.col0 + 1, target.row1 - target.row0 + 1] * 2)
    noise = np.clip(rng.standard_normal(4) * share * sides, -limit_px, limit_px)
    x0, y0, x1, y1 = np.array(corners(target)) + noise
    limits = np.array([shape[1], shape[0]] * 2) - 1.0
    ordered = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))  # noise may cross a thin box
    return Box(*np.clip(ordered, 0, limits).tolist())


def _moved_to_iou(exact: Box, moves: np.ndarray, iou: float, shape: tuple[int, int]) -> Box | None:
    """`exact` moved along `moves` (per coordinate, in sides) until its IoU is `iou`; None if it never is."""
    width, height = exact.x1 - exact.x0 + 1, exact.y1 - exact.y0 + 1
    steps = (moves * (width, height, width, height)).tolist()
    low, high = 0.0, 4.0 * max(shape) / max(min(abs(step) for step in steps), 1e-3)
    for _ in range(STEPS):
        middle = (low + high) / 2
        box = _moved(exact, steps, middle, shape)
        found = 0.0 if box is None else box_iou(box, exact)
        if abs(found - iou) < TOLERANCE:
            return box
        low, high = (middle, high) if found > iou else (low, middle)
    return None


def _moved(exact: Box, steps: list[float], far: float, shape: tuple[int, int]) -> Box | None:
    """None where the box is turned inside out: a side shorter than one pixel."""
    limits = (shape[1] - 1, shape[0] - 1) * 2
    x0, y0, x1, y1 = (
        min(max(place + far * step, 0.0), float(limit))
        for place, step, limit in zip(exact, steps, limits, strict=True)
    )
    return Box(x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 else None


def _area(box: Box) -> float:
    return (box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1)
