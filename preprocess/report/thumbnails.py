"""Small pictures of a few cases: the slice that shows most of the structures, with the label map over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.labels import Entry, values_of
from preprocess.fingerprint.facts import CaseFacts
from preprocess.layouts import Case, Dataset

MAX_CASES = 12
MIN_CASES = 2
MAX_VOXELS = 40_000_000
"""No more voxels than this are read again for pictures (but always `MIN_CASES` cases)."""

SIDE_PX = 220
THINNED_SIDE = 96
"""In-plane samples that are enough to find the slice to show."""

OPACITY = 0.38

COLOURS = (
    "#e6550d", "#3182bd", "#31a354", "#e7ba52", "#756bb1", "#17becf", "#d6604d", "#8c564b",
    "#e377c2", "#b5cf6b", "#393b79", "#ad494a", "#6baed6", "#fdae6b", "#5254a3", "#74c476",
)  # fmt: skip
"""Colour of class 1, 2, ...; they repeat after 16."""


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    case: str
    caption: str
    png: str
    """base64"""
    plain_png: str
    """the same slice without labels, base64"""
    width: int
    height: int


def colour_of(index: int) -> str:
    """Hex colour of class `index` (1..K)."""
    return COLOURS[(index - 1) % len(COLOURS)]


def make_thumbnails(
    dataset: Dataset, cases: Sequence[CaseFacts], decisions: Mapping[str, Any]
) -> tuple[Thumbnail, ...]:
    """Pictures of up to 12 labelled training cases spread over the data set; unreadable ones are left out."""
    by_name = {case.name: case for case in dataset.cases}
    chosen = _spread([facts for facts in cases if facts.name in by_name and facts.labels and not facts.error])
    with ThreadPoolExecutor(max_workers=2) as pool:
        made = list(
            pool.map(lambda facts: _thumbnail(by_name[facts.name], facts, dataset, decisions), chosen)
        )
    return tuple(thumbnail for thumbnail in made if thumbnail)


def _spread(cases: list[CaseFacts]) -> list[CaseFacts]:
    if not cases:
        return []
    median = float(np.median([np.prod(case.shape, dtype=float) * case.channels for case in cases]))
    count = int(np.clip(MAX_VOXELS // max(median, 1), MIN_CASES, MAX_CASES))
    places = np.unique(np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int))
    return [cases[place] for place in places]


def _thumbnail(
    case: Case, facts: CaseFacts, dataset: Dataset, decisions: Mapping[str, Any]
) -> Thumbnail | None:
    from pgsam_monai.base.volume import ReadError, read_label, read_volume

    try:
        image = read_volume([Path(dataset.folder, path) for path in case.images])
        label = read_label(case.label_below(dataset.folder))
    except ReadError:
        return None
    turned = _turned(image.voxels, facts.orientation, decisions["orientation"])  # (C, rows, cols, slices)
    classes = _turned(label.voxels, facts.orientation, decisions["orientation"])[0]
    if classes.shape != turned.shape[1:]:
        return None
    place = _richest_slice(classes, decisions["labels"])
    rows_mm, cols_mm = _in_plane_spacing(facts, decisions["orientation"])
    picture = _scaled_intensities(turned[..., place], decisions["intensity"])
    mapped = _class_indices(classes[..., place], decisions["labels"])
    size = _size(mapped.shape, rows_mm, cols_mm)
    plain = _resized(picture, size, smooth=True)
    overlay = _painted(plain, _resized(mapped, size, smooth=False))
    return Thumbnail(
        case=facts.name,
        caption=f"slice {place + 1} of {turned.shape[3]}",
        png=_png(overlay),
        plain_png=_png(plain),
        width=size[0],
        height=size[1],
    )


def _turned(voxels: np.ndarray, stored: str, planned: str) -> np.ndarray:
    """(C, i, j, k) turned from `stored` axis codes to `planned` ones; a view."""
    if not stored or not planned:
        return voxels
    letters = {"L": "LR", "R": "LR", "P": "PA", "A": "PA", "I": "IS", "S": "IS"}
    order = [next(axis for axis, code in enumerate(stored) if code in letters[wanted]) for wanted in planned]
    view = voxels.transpose(0, *(axis + 1 for axis in order))
    flips = tuple(
        slice(None, None, 1 if stored[axis] == wanted else -1)
        for axis, wanted in zip(order, planned, strict=True)
    )
    return view[(slice(None), *flips)]


def _richest_slice(classes: np.ndarray, labels: Sequence[Entry]) -> int:
    """The slice of (rows, cols, slices) that shows most structures, of equals the one with most of
    their voxels."""
    rows, cols, _ = classes.shape
    thinned = classes[:: max(1, rows // THINNED_SIDE), :: max(1, cols // THINNED_SIDE)]
    voxels = np.stack(
        [np.count_nonzero(np.isin(thinned, values_of(entry)), axis=(0, 1)) for entry in labels[1:]]
    )  # (K, slices)
    total = voxels.sum(axis=0)
    return int(np.argmax((voxels > 0).sum(axis=0) + total / (total.max() + 1)))


def _in_plane_spacing(facts: CaseFacts, planned: str) -> tuple[float, float]:
    spacing = np.asarray(facts.spacing, dtype=float).reshape(1, 3, 1, 1)
    if not facts.orientation or not planned:
        return float(spacing.flat[0]), float(spacing.flat[1])
    letters = {"L": "LR", "R": "LR", "P": "PA", "A": "PA", "I": "IS", "S": "IS"}
    rows, cols = (
        next(axis for axis, code in enumerate(facts.orientation) if code in letters[wanted])
        for wanted in planned[:2]
    )
    return float(facts.spacing[rows]), float(facts.spacing[cols])


def _scaled_intensities(picture: np.ndarray, scheme: Mapping[str, Any]) -> np.ndarray:
    """(C, H, W) in any units -> uint8 (H, W) or, with three channels, (H, W, 3); scaled as training will."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0.0, neginf=0.0)
    values = values if scheme["scheme"] == "unit8" and values.shape[0] == 3 else values[:1]
    if scheme["scheme"] == "window":
        low, high = scheme["low"], scheme["high"]
    elif scheme["scheme"] == "unit8":
        low, high = 0.0, 255.0
    elif scheme["scheme"] == "none":
        low, high = 0.0, 1.0
    else:
        low, high = np.percentile(values, [scheme["low"], scheme["high"]])
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0)
    bytes_ = (scaled * 255).round().astype(np.uint8)
    return bytes_[0] if bytes_.shape[0] == 1 else np.moveaxis(bytes_, 0, -1)


def _class_indices(values: np.ndarray, labels: Sequence[Entry]) -> np.ndarray:
    indices = np.zeros(values.shape, dtype=np.uint8)
    for index, entry in enumerate(labels):
        indices[np.isin(values, values_of(entry))] = index % 256
    return indices


def _size(shape: tuple[int, int], rows_mm: float, cols_mm: float) -> tuple[int, int]:
    height, width = shape[0] * rows_mm, shape[1] * cols_mm
    scale = SIDE_PX / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(picture: np.ndarray, size: tuple[int, int], *, smooth: bool) -> np.ndarray:
    from PIL import Image

    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, method))


def _painted(picture: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): each class washed in its colour, its border drawn in full."""
    grey = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
    painted = grey.astype(np.float32)
    padded = np.pad(classes, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    border = (inner != padded[:-2, 1:-1]) | (inner != padded[1:-1, :-2])
    for index in np.unique(classes[classes > 0]):
        colour = np.array(
            [int(colour_of(int(index))[start : start + 2], 16) for start in (1, 3, 5)], dtype=np.float32
        )
        inside = classes == index
        painted[inside] = (1 - OPACITY) * painted[inside] + OPACITY * colour
        painted[inside & border] = colour
    return painted.round().astype(np.uint8)


def _png(picture: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", compress_level=6)
    return base64.b64encode(stream.getvalue()).decode("ascii")
