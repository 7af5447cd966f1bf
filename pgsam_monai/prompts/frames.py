"""The one conversion between clicks in the user's file and points in the network's square frame, both ways.

    native voxel (i, j, k) --native_affine--> mm RAS+ --inverse affine--> (row, column, slice) of the
    preprocessed volume --SliceFrame--> (x, y) pixels of the square, and a slice number

Centres of voxels and pixels are integers everywhere. Native voxels are those of the original file as the
project reads it (i fastest: NIfTI's order, ITK's index order; numpy's order of a SimpleITK array is k, j, i;
slices of a DICOM series count along the normal of their plane, whatever their file names).
Flips, axis orders, oblique affines and spacing are all in the two affines, so that nothing here knows an
orientation; half-pixel shifts of resizing are those of `transforms.fit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pgsam_monai.base.errors import UserFault
from pgsam_monai.prompts.boxes import Box
from pgsam_monai.prompts.click_files import ClassClicks, Clicks, Place, Region
from pgsam_monai.prompts.points import BOX_FIRST, NEGATIVE, POSITIVE, PointList, box_points, point_list
from pgsam_monai.voxels.frame import SliceFrame

EDGE = 1e-3
"""voxels; how far rounding in affines may push a click off the volume's outer faces"""


class Placed(NamedTuple):
    """A click or a box where the network sees it."""

    slice: int
    points: PointList
    """in the network's square: a click, or a box's two corners"""
    voxel: tuple[float, float, float] | None = None
    """the click (i, j, k) of the image file, on its slice's centre, to 0.001; None for a box"""

    @property
    def positive(self) -> bool:
        """Whether it is a click that says: here it is."""
        return POSITIVE in self.points.labels


def place_prompts(clicks: Clicks, *, native_affine: ArrayLike, **volume: Any) -> dict[str, list[Placed]]:
    """What a user said, by class name: first boxes, then positive and negative clicks, where the network sees them.

    Args:
        clicks: in any space.
        native_affine: (4, 4) of the original file, voxel -> mm, RAS+.
        volume: affine, frame and depth of the preprocessed volume, as of `to_frame`.

    Raises:
        UserFault: a prompt outside the image, or two boxes for one class on one slice.
    """
    placed = {}
    for name, said in in_voxels(clicks, native_affine).labels.items():
        try:
            placed[name] = [
                *_placed_boxes(said, native_affine=native_affine, **volume),
                *_placed_clicks(said, native_affine=native_affine, **volume),
            ]
        except UserFault as fault:
            raise UserFault(f"Class '{name}': {fault}") from fault
    return placed


def _placed_boxes(said: ClassClicks, **geometry: Any) -> Iterator[Placed]:
    boxed = set()
    for roi in said.boxes:
        for box, at in zip(*roi_to_frame(roi, **geometry), strict=True):
            if at in boxed:
                raise UserFault(
                    f"two boxes lie on one slice, {list(roi)} is the second; a class takes one box a slice, join them "
                    "or use clicks."
                )
            boxed.add(at)
            yield Placed(at, box_points(box))


def _placed_clicks(said: ClassClicks, *, depth: int, **geometry: Any) -> Iterator[Placed]:
    for kind, clicks in ((POSITIVE, said.positive), (NEGATIVE, said.negative)):
        points, slices = to_frame(clicks, depth=depth, **geometry)
        voxels = from_frame(points, slices, **geometry).round(3)
        for point, at, voxel in zip(points, slices.tolist(), voxels.tolist(), strict=True):
            yield Placed(at, point_list([point], [kind]), tuple(voxel))


def in_voxels(clicks: Clicks, native_affine: np.ndarray) -> Clicks:
    """The same clicks in voxels of the file with `native_affine` (4, 4), voxel -> mm, RAS+.

    A box in mm becomes the voxels between its faces; on an oblique grid, those of the upright box around it.
    """
    if clicks.space == "voxel":
        return clicks
    flip = np.diag([-1.0, -1.0, 1.0, 1.0]) if clicks.space == "LPS" else np.eye(4)
    to_voxel = np.linalg.solve(np.asarray(native_affine, np.float64), flip)
    labels = {
        name: replace(
            said,
            positive=_places(to_voxel, said.positive),
            negative=_places(to_voxel, said.negative),
            boxes=tuple(_region(to_voxel, box) for box in said.boxes),
        )
        for name, said in clicks.labels.items()
    }
    return Clicks(labels=labels, space="voxel")


def to_frame(
    clicks: ArrayLike, *, native_affine: ArrayLike, affine: ArrayLike, frame: SliceFrame, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Clicks in native voxels -> their points in the square frame and the slices they lie on.

    Args:
        clicks: (N, 3) voxels (i, j, k) of the original file, floats allowed.
        native_affine: (4, 4) of the original file, voxel -> mm, RAS+.
        affine: (4, 4) of the preprocessed volume (rows, columns, slices), likewise.
        frame: how its slices lie in the square.
        depth: its number of slices.
    Returns:
        points (N, 2) float64, (x, y); slices (N,) int64, the nearest slice of each.
    Raises:
        ValueError: a click outside the volume, or a wrong shape; the message counts clicks from 1.
    """
    clicks = _rows_of(clicks, 3, "to_frame: clicks")
    volume = _apply(_between(native_affine, affine), clicks)  # (N, 3) row, column, slice
    shape = np.array([frame.height, frame.width, depth])
    outside = ((volume < -0.5 - EDGE) | (volume > shape - 0.5 + EDGE)).any(axis=1)
    if outside.any():
        first = int(outside.argmax())
        raise UserFault(
            f"to_frame: click {first + 1}, voxel {_written(clicks[first])}, lies outside the image, whose"
            f" voxels run from {_native_extent(native_affine, affine, shape)}; give clicks in voxels (i, j, k) of"
            " the original file."
        )
    slices = np.floor(volume[:, 2] + 0.5).astype(np.int64).clip(0, depth - 1)
    return _to_square(volume[:, 1::-1], frame), slices


def from_frame(
    points: ArrayLike, slices: ArrayLike, *, native_affine: ArrayLike, affine: ArrayLike, frame: SliceFrame
) -> np.ndarray:
    """The inverse of `to_frame`: points (N, 2) and slices (N,) -> (N, 3) float64 native voxels
    (i, j, k), on the slices' centres."""
    columns_rows = _from_square(_rows_of(points, 2, "from_frame: points"), frame)
    slices = np.asarray(slices, dtype=np.float64).reshape(-1, 1)
    if len(slices) != len(columns_rows):
        raise UserFault(f"from_frame: {len(columns_rows)} points need as many slices, got {len(slices)}.")
    volume = np.concatenate([columns_rows[:, ::-1], slices], axis=1)
    return _apply(_between(affine, native_affine), volume)


def frame_to_pixels(points: PointList, frame: SliceFrame) -> list[tuple[int, int]]:
    """(row, column) of the slice's pixels that points of the square lie on, or of the nearest ones."""
    places = np.rint(_from_square(np.asarray(points.points, dtype=np.float64), frame)).astype(int)
    columns, rows = places.T
    return list(
        zip(rows.clip(0, frame.height - 1).tolist(), columns.clip(0, frame.width - 1).tolist(), strict=True)
    )


def roi_to_frame(
    roi: Sequence[float], *, native_affine: ArrayLike, affine: ArrayLike, frame: SliceFrame, depth: int
) -> tuple[list[Box], list[int]]:
    """A native region [i0, i1, j0, j1, k0, k1] -> one box per slice that it covers, and those slices.

    Both ends are included, in either order, as MONAI Label sends them. The region counts whole voxels, so
    that one voxel enlarged fourfold is a box of four pixels; a side of less than one pixel becomes its
    centre. Of a region that reaches beyond the image, the part inside counts; where the axes of the two
    volumes aren't parallel, the boxes hold the region.

    Raises:
        ValueError: not six finite numbers, or a region wholly outside the image.
    """
    low, high = sorted_roi(roi)
    faces = np.array(list(product(*zip(low - 0.5, high + 0.5, strict=True))))  # (8, 3)
    volume = _apply(_between(native_affine, affine), faces)
    shape = np.array([frame.height, frame.width, depth])
    first, last = np.maximum(volume.min(axis=0), -0.5), np.minimum(volume.max(axis=0), shape - 0.5)
    if (last - first < EDGE).any():
        raise UserFault(
            f"roi_to_frame: region {[float(end) for end in roi]} lies outside the image, whose voxels run"
            f" from {_native_extent(native_affine, affine, shape)}; give [i0, i1, j0, j1, k0, k1] in voxels of the"
            " original file."
        )
    box = _box_between(first[1::-1], last[1::-1], frame)
    slices = list(range(int(np.ceil(first[2] - EDGE)), int(np.floor(last[2] + EDGE)) + 1))
    if not slices:  # thinner than a slice, between two centres
        slices = [min(int(np.floor((first[2] + last[2]) / 2 + 0.5)), depth - 1)]
    return [box] * len(slices), slices


def pixels_to_frame(pixels: PointList, frame: SliceFrame) -> PointList:
    """Clicks, or a box, on pixels (x, y) of a slice, as simulated users give them -> points of the square."""
    if BOX_FIRST not in pixels.labels:
        return point_list(_to_square(pixels.points.astype(np.float64), frame), pixels.labels)
    first, last = pixels.points.astype(np.float64) + [[-0.5], [0.5]]
    return box_points(_box_between(first, last, frame))


def box_to_frame(
    first: Sequence[float],
    second: Sequence[float],
    *,
    native_affine: ArrayLike,
    affine: ArrayLike,
    frame: SliceFrame,
    depth: int,
) -> tuple[Box, int]:
    """Two opposite corner voxels (i, j, k) of a box, both included, on one slice -> the box and the slice.

    Raises:
        ValueError: corners on different slices of the preprocessed volume, or outside the image.
    """
    geometry = {"native_affine": native_affine, "affine": affine, "frame": frame, "depth": depth}
    slices = to_frame([first, second], **geometry)[1]
    if slices[0] != slices[1]:
        raise UserFault(
            f"box_to_frame: corners {_written(first)} and {_written(second)} lie on slices {slices[0]} and"
            f" {slices[1]}; a box needs both on one slice, and a region over several has six numbers."
        )
    boxes, _ = roi_to_frame(np.ravel([first, second], order="F").tolist(), **geometry)
    return boxes[0], int(slices[0])


def roi_from_frame(
    box: Box, index: int, *, native_affine: ArrayLike, affine: ArrayLike, frame: SliceFrame
) -> list[float]:
    """A box on slice `index` -> the native region [i0, i1, j0, j1, k0, k1] that covers it, one slice thick."""
    across = _from_square(np.array([[box.x0 - 0.5, box.y0 - 0.5], [box.x1 + 0.5, box.y1 + 0.5]]), frame)
    rows, columns = across[:, 1], across[:, 0]
    faces = np.array(list(product(rows, columns, (index - 0.5, index + 0.5))))
    return _voxels_between(_apply(_between(affine, native_affine), faces))


def sorted_roi(roi: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """[i0, i1, j0, j1, k0, k1], ends in either order -> lowest (3,) and highest (3,)."""
    ends = np.asarray(roi, dtype=np.float64)
    if ends.shape != (6,) or not np.isfinite(ends).all():
        raise UserFault(f"A region must be six numbers [i0, i1, j0, j1, k0, k1], got {list(roi)}.")
    return ends.reshape(3, 2).min(axis=1), ends.reshape(3, 2).max(axis=1)


def _rows_of(values: ArrayLike, width: int, who: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    array = array.reshape(0, width) if array.size == 0 else array
    if array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
        raise UserFault(f"{who} must be (N, {width}) finite numbers, got shape {array.shape}.")
    return array


def _between(source: ArrayLike, target: ArrayLike) -> np.ndarray:
    """(4, 4): voxels of the volume with affine `source` -> voxels of the one with affine `target`."""
    return np.linalg.solve(np.asarray(target, np.float64), np.asarray(source, np.float64))


def _apply(matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
    return places @ matrix[:3, :3].T + matrix[:3, 3]


def _places(matrix: np.ndarray, places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(map(tuple, _apply(matrix, np.reshape(places, (-1, 3))).tolist()))


def _region(matrix: np.ndarray, box: Region) -> Region:
    return tuple(
        _voxels_between(_apply(matrix, np.array(list(product(*zip(*sorted_roi(box), strict=True))))))
    )


def _voxels_between(faces: np.ndarray) -> list[float]:
    """Corners (8, 3) of a region -> [i0, i1, j0, j1, k0, k1]; a side of less than a voxel becomes its centre."""
    low, high = faces.min(axis=0) + 0.5, faces.max(axis=0) - 0.5
    thin = low > high
    low[thin] = high[thin] = faces.mean(axis=0)[thin]
    return np.stack([low, high], axis=1).ravel().tolist()


def _box_between(first: np.ndarray, last: np.ndarray, frame: SliceFrame) -> Box:
    """The outer edges (column, row) of a region on a slice -> its box; a side of less than a pixel: its centre."""
    low, high = _to_square(np.stack([first, last]), frame) + [[0.5], [-0.5]]
    thin = high < low
    low[thin] = high[thin] = (low[thin] + high[thin]) / 2
    return Box(*low.tolist(), *high.tolist())


def _to_square(places: np.ndarray, frame: SliceFrame) -> np.ndarray:
    """(N, 2) (column, row) of a slice -> (x, y): centres shift with the scale, as in `fit_image`."""
    return (places + 0.5) * _scale(frame) - 0.5


def _from_square(points: np.ndarray, frame: SliceFrame) -> np.ndarray:
    return (points + 0.5) / _scale(frame) - 0.5


def _scale(frame: SliceFrame) -> np.ndarray:
    return np.array([frame.fitted_width / frame.width, frame.fitted_height / frame.height])


def _native_extent(native_affine: ArrayLike, affine: ArrayLike, shape: np.ndarray) -> str:
    ends = np.array(list(product(*((0, n - 1) for n in shape))), dtype=np.float64)
    native = _apply(_between(affine, native_affine), ends)
    return f"{_written(native.min(axis=0))} to {_written(native.max(axis=0))}"


def _written(voxel: ArrayLike) -> str:
    return f"({', '.join(f'{round(float(place), 2) + 0.0:g}' for place in np.asarray(voxel))})"
