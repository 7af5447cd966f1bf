"""Sizes, components and extents of every label in a label map, from one pass over its voxels.

The map is cut into runs (stretches of one value along the axis that is contiguous in memory). All that is
asked of a structure follows from its runs, of which there are hundreds of times fewer than voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgsam_monai.base.errors import UserFault
from preprocess.fingerprint.facts import LabelFacts

MAX_RUNS = 8_000_000
"""More stretches than this is no class map but an image; refusing keeps memory bounded."""

MAX_VALUES = 4096


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Stretches of one label value along the last axis of a (P, Q, X) array, in memory order."""

    values: np.ndarray  # (R,)
    plane: np.ndarray  # (R,) index along P
    line: np.ndarray  # (R,) index along Q
    start: np.ndarray  # (R,) first index along X
    stop: np.ndarray  # (R,) one past the last
    shape: tuple[int, int, int]

    def select(self, which: np.ndarray) -> Runs:
        """The runs picked by a mask or by indices."""
        parts = {name: getattr(self, name)[which] for name in ("values", "plane", "line", "start", "stop")}
        return Runs(**parts, shape=self.shape)


def measure_labels(
    label: np.ndarray, spacing: tuple[float, float, float], *, background: int = 0
) -> dict[int, LabelFacts]:
    """Facts of every value but the background's in `label` (i, j, k; integers from 0 on), `spacing` (i, j, k) in mm.

    Raises UserFault when the array holds far too many values or changes to be a label map.
    """
    if background:
        facts = measure_labels(_raised(label, background), spacing)
        return {value - 1: found for value, found in facts.items()}
    transposed = label.flags.f_contiguous and not label.flags.c_contiguous
    ordered = label.T if transposed else np.ascontiguousarray(label)
    voxel_mm = tuple(spacing[::-1]) if transposed else tuple(spacing)
    runs = find_runs(ordered)
    roots = find_components(runs)
    by_value = np.argsort(runs.values, kind="stable")
    values, first = np.unique(runs.values[by_value], return_index=True)
    if len(values) > MAX_VALUES:
        raise UserFault(
            f"it holds {len(values)} different values above zero, from {values[0]} to {values[-1]}"
        )
    facts = {}
    for n, value in enumerate(values):
        rows = by_value[first[n] : first[n + 1] if n + 1 < len(first) else None]
        facts[int(value)] = _measure_one(runs.select(rows), roots[rows], voxel_mm, flip=transposed)
    return facts


def _raised(label: np.ndarray, background: int) -> np.ndarray:
    """`label` with its background 0 and one more for every other value, which may be 0; memory order kept."""
    raised = label.astype(np.int64, order="K") + 1
    raised[label == background] = 0
    return raised


def find_runs(label: np.ndarray) -> Runs:
    """Runs of the values above zero in `label` (P, Q, X), C order, sorted by place."""
    lines_per_plane, length = label.shape[1], label.shape[2]
    flat = label.reshape(-1)
    ends_here = np.empty(flat.size, dtype=bool)
    np.not_equal(flat[1:], flat[:-1], out=ends_here[:-1])
    ends_here[length - 1 :: length] = True
    stops = np.flatnonzero(ends_here) + 1
    if len(stops) - flat.size // length > MAX_RUNS:
        raise UserFault(f"its value changes {len(stops)} times over {flat.size} voxels")
    starts = np.concatenate(([0], stops[:-1]))
    values = flat[starts]
    kept = values > 0
    starts, stops, values = starts[kept], stops[kept], values[kept]
    lines = starts // length
    return Runs(
        values=values,
        plane=lines // lines_per_plane,
        line=lines % lines_per_plane,
        start=starts - lines * length,
        stop=stops - lines * length,
        shape=label.shape,
    )


def find_components(runs: Runs) -> np.ndarray:
    """For each run the number of the component it belongs to (any numbers, equal within a component).

    Voxels touch when they share a face, an edge or a corner.
    """
    width, height = runs.shape[2] + 2, runs.shape[1] + 2  # a margin, so that neighbours never wrap round
    origin = (runs.plane * height + runs.line + 1) * width + 1
    first, last = origin + runs.start, origin + runs.stop - 1
    pairs = []
    for planes, lines in ((0, 1), (1, -1), (1, 0), (1, 1)):
        step = (planes * height + lines) * width
        low = np.searchsorted(last, first + step - 1, side="left")
        high = np.searchsorted(first, last + step + 1, side="right")
        pairs.append(_expand(low, high))
    here, there = (np.concatenate(side) for side in zip(*pairs, strict=True))
    same = runs.values[here] == runs.values[there]
    return _unite(len(first), here[same], there[same])


def _expand(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n, m) for every m in low[n] ... high[n] - 1."""
    counts = np.maximum(high - low, 0)
    here = np.repeat(np.arange(len(low)), counts)
    offsets = np.arange(len(here)) - np.repeat(np.cumsum(counts) - counts, counts)
    return here, low[here] + offsets


def _unite(count: int, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Root of every one of `count` nodes under the edges here-there: hook the higher root to the lower, then
    flatten."""
    roots = np.arange(count)
    while True:
        a, b = roots[here], roots[there]
        apart = a != b
        if not apart.any():
            return roots
        here, there, a, b = here[apart], there[apart], a[apart], b[apart]
        roots[np.maximum(a, b)] = np.minimum(a, b)
        while True:
            flatter = roots[roots]
            if np.array_equal(flatter, roots):
                break
            roots = flatter


def _measure_one(runs: Runs, roots: np.ndarray, voxel_mm: tuple[float, ...], *, flip: bool) -> LabelFacts:
    lengths = runs.stop - runs.start
    components, member = np.unique(roots, return_inverse=True)
    sizes = np.bincount(member, weights=lengths)
    extent_px, in_plane_px, in_plane_mm = _extents(runs.select(member == np.argmax(sizes)), voxel_mm)
    shares = (
        np.count_nonzero(np.bincount(runs.plane)) / runs.shape[0],
        np.count_nonzero(np.bincount(runs.line)) / runs.shape[1],
        np.count_nonzero(_cover(np.zeros_like(runs.start), runs, rows=1)) / runs.shape[2],
    )
    step = -1 if flip else 1  # back to (i, j, k)
    voxels = int(lengths.sum())
    return LabelFacts(
        voxels=voxels,
        volume_ml=float(voxels * np.prod(voxel_mm) / 1000.0),
        components=len(components),
        extent_px=tuple(extent_px)[::step],
        extent_mm=tuple(float(n * mm) for n, mm in zip(extent_px, voxel_mm, strict=True))[::step],
        in_plane_px=tuple(in_plane_px)[::step],
        in_plane_mm=tuple(in_plane_mm)[::step],
        slices=tuple(float(share) for share in shares)[::step],
        centroid=_centroid(runs, lengths)[::step],
    )


def _centroid(runs: Runs, lengths: np.ndarray) -> tuple[float, ...]:
    """Mean place of all voxels along (P, Q, X)."""
    middles = (runs.plane, runs.line, (runs.start + runs.stop - 1) / 2)
    return tuple(float(places @ lengths / lengths.sum()) for places in middles)


def _extents(runs: Runs, voxel_mm: tuple[float, ...]) -> tuple[list[int], list[float], list[float]]:
    """Box of the runs in voxels, and per slicing axis the median shorter side in a slice, in voxels and in
    mm."""
    plane, line = runs.plane - runs.plane.min(), runs.line - runs.line.min()
    planes, lines = int(plane.max()) + 1, int(line.max()) + 1
    seen_pq = np.zeros((planes, lines), dtype=bool)
    seen_pq[plane, line] = True
    seen_px = _cover(plane, runs, rows=planes)
    seen_qx = _cover(line, runs, rows=lines)
    sides = (
        (_side(seen_pq), 1, _side(seen_px), 2),
        (_side(seen_pq.T), 0, _side(seen_qx), 2),
        (_side(seen_px.T), 0, _side(seen_qx.T), 1),
    )
    extent = [planes, lines, int(runs.stop.max() - runs.start.min())]
    px = [float(middle_of(np.minimum(a, b))) for a, _, b, _ in sides]
    mm = [float(middle_of(np.minimum(a * voxel_mm[i], b * voxel_mm[j]))) for a, i, b, j in sides]
    return extent, px, mm


def middle_of(values: np.ndarray) -> np.ndarray:
    """Median of (N, ...) values along the first axis; numpy's own is slow on few values and imports masked
    arrays."""
    ordered = np.sort(values, axis=0)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _cover(row: np.ndarray, runs: Runs, *, rows: int) -> np.ndarray:
    """(rows, X') mask of the places along X that a run of that row covers, X' the box of all runs."""
    low = runs.start.min()
    width = int(runs.stop.max() - low) + 1
    opened = np.bincount(row * width + runs.start - low, minlength=rows * width)
    closed = np.bincount(row * width + runs.stop - low, minlength=rows * width)
    return (np.cumsum(opened - closed).reshape(rows, width) > 0)[:, :-1]


def _side(seen: np.ndarray) -> np.ndarray:
    """Per row of the (rows, N) mask that holds anything: from its first to its last place."""
    seen = seen[seen.any(axis=1)]
    return seen.shape[1] - np.argmax(seen[:, ::-1], axis=1) - np.argmax(seen, axis=1)
