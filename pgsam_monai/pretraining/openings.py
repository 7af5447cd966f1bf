"""How a simulated user begins: a click or several, a box tight or loose, a mask that needs correcting."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from pgsam_monai.prompts.boxes import box_with_iou, corners, jittered_box, tight_box
from pgsam_monai.prompts.points import ABSENT, BOX_FIRST, BOX_LAST, NEGATIVE, POSITIVE

POINTS = 6
"""Room for points of an opening."""
SHARES = {"click": 0.45, "clicks": 0.17, "box": 0.12, "loose box": 0.08, "box and click": 0.05, "mask": 0.13}
"""What there is, and how often it is drawn where nobody says otherwise."""
MASK_STRIDE = 4
"""Pixels of the square per pixel of a mask prompt."""


class Opening(NamedTuple):
    """The first prompt about one target."""

    points: np.ndarray
    """(POINTS, 2) float32, (x, y) pixels"""
    labels: np.ndarray
    """(POINTS,) int64, see `prompts.points.Prompts`"""
    mask: np.ndarray
    """(S/4, S/4) float32 logits, 0 where none is given"""
    has_mask: bool


def open_with(rng: np.random.Generator, target: np.ndarray, kind: str) -> Opening:
    """Draw the first prompt, of a kind that `SHARES` names, about a target (S, S) of bool, which isn't empty."""
    side = len(target) // MASK_STRIDE
    mask, clicks, box = np.zeros((side, side), np.float32), [], None
    if kind == "click":
        clicks = [_inside(rng, target)]
    elif kind == "clicks":
        clicks = _several(rng, target)
    elif kind == "mask":
        mask = rough_mask(rng, target)
        clicks = [_correction(rng, target, mask)]
    else:
        box = _box(rng, target, kind)
        clicks = [_inside(rng, target)] if kind == "box and click" else []
    points, labels = np.zeros((POINTS, 2), np.float32), np.full(POINTS, ABSENT, np.int64)
    for place, (row, column, positive) in enumerate(clicks):
        points[place], labels[place] = (column, row), POSITIVE if positive else NEGATIVE
    if box is not None:
        points[-2], points[-1] = (box.x0, box.y0), (box.x1, box.y1)
        labels[-2], labels[-1] = BOX_FIRST, BOX_LAST
    return Opening(points, labels, mask, kind == "mask")


def rough_mask(rng: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """Logits (S/4, S/4) of the target as another network might leave it: eroded or dilated, frayed, a disc too much or
    too little, or mostly missed."""
    side = len(target) // MASK_STRIDE
    share = target.reshape(side, MASK_STRIDE, side, MASK_STRIDE).mean(axis=(1, 3), dtype=np.float32)
    radius = max(1.0, np.sqrt(share.sum() / np.pi))
    soft = ndimage.gaussian_filter(share, rng.uniform(0.3, 0.7) * radius)
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side)), 1.5)
    level = soft + rng.uniform(0, 0.25) * noise / noise.std() - rng.uniform(0.2, 0.7)
    rows, columns = np.ogrid[:side, :side]
    for _ in range(rng.integers(0, 3)):
        place = np.argwhere(share > 0)[rng.integers(np.count_nonzero(share))]
        row, column = (place + 1.2 * radius * rng.normal(size=2)).tolist()
        disc = (rows - row) ** 2 + (columns - column) ** 2 < (radius * rng.uniform(0.2, 0.8)) ** 2
        level[disc] = rng.choice([-0.5, 0.5])
    return np.clip(rng.uniform(6, 30) * level, -10, 10).astype(np.float32)


def _box(rng: np.random.Generator, target: np.ndarray, kind: str):
    tight = tight_box(target)
    if kind == "loose box":
        return box_with_iou(tight, rng.uniform(0.6, 0.95), rng=rng, shape=target.shape)
    return (
        corners(tight) if rng.random() < 0.5 else jittered_box(tight, rng=rng, shape=target.shape, share=0.05)
    )


def _several(rng: np.random.Generator, target: np.ndarray) -> list[tuple[int, int, bool]]:
    """2 to 6 clicks at once: into the target, and close beside it."""
    clicks = [_inside(rng, target) for _ in range(rng.integers(1, 5))]
    near = ndimage.uniform_filter(target.astype(np.float32), 25) > 0.02
    beside = np.flatnonzero(near & ~target)
    for _ in range(rng.integers(1 if len(clicks) == 1 else 0, 3) if len(beside) else 0):
        clicks.append((*divmod(int(beside[rng.integers(len(beside))]), target.shape[1]), False))
    order = rng.permutation(len(clicks))
    return [clicks[place] for place in order]


def _inside(rng: np.random.Generator, target: np.ndarray) -> tuple[int, int, bool]:
    """Anywhere in the target, or rather in the middle of it, as people click."""
    places = np.flatnonzero(target)
    picks = places[rng.integers(len(places), size=1 if rng.random() < 0.4 else 6)]
    if len(picks) > 1:
        thick = ndimage.uniform_filter(target.astype(np.float32), 9).ravel()
        picks = picks[thick[picks].argmax(keepdims=True)]
    return (*divmod(int(picks[0]), target.shape[1]), True)


def _correction(rng: np.random.Generator, target: np.ndarray, mask: np.ndarray) -> tuple[int, int, bool]:
    """Into what a mask gets wrong; into the target where it is right already."""
    full = np.kron(mask, np.ones((MASK_STRIDE, MASK_STRIDE), np.float32)) > 0
    wrong = full != target
    if not wrong.any():
        return _inside(rng, target)
    thick = ndimage.uniform_filter(wrong.astype(np.float32), 7)
    places = np.flatnonzero(wrong)
    picks = places[rng.integers(len(places), size=8)]
    row, column = divmod(int(picks[thick.ravel()[picks].argmax()]), target.shape[1])
    return row, column, bool(target[row, column])
