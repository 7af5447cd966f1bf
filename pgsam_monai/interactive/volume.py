"""A volume as the network walks over it, and the way back to the voxels that the user sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from monai.utils.enums import MetaKeys, SpaceKeys
from torch import Tensor

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.prompts.boxes import Box
from pgsam_monai.prompts.frames import roi_to_frame, to_frame
from pgsam_monai.prompts.points import BOX_FIRST, BOX_LAST, PointList, point_list
from pgsam_monai.transforms import ReadCased
from pgsam_monai.transforms.fit import SliceFrame, slice_frame

WHOLE = 1e-3
"""How far a turn of axes may be from whole numbers: headers are rounded."""


@dataclass(frozen=True, kw_only=True)
class NativeGrid:
    """The grid (i, j, k) of an image file, and how the preprocessed grid (row, column, slice) is turned from it."""

    shape: tuple[int, int, int]
    """voxels along i, j, k"""
    affine: np.ndarray
    """(4, 4) (i, j, k) -> mm RAS+"""
    axes: tuple[int, int, int]
    """which of i, j, k rows, columns and slices run along"""
    flips: tuple[bool, bool, bool]
    """whether rows, columns and slices are counted from the other end"""

    def turned(self, native: np.ndarray) -> np.ndarray:
        """An array (i, j, k) as (row, column, slice): a view, so that writing to it writes to `native`."""
        steps = tuple(slice(None, None, -1 if flipped else 1) for flipped in self.flips)
        return native.transpose(self.axes)[steps]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One preprocessed image."""

    image: Tensor
    """(C, H, W, D), 0..1"""
    affine: np.ndarray
    """(4, 4) (row, column, slice) -> mm RAS+"""
    grid: NativeGrid
    frame: SliceFrame
    """how slices lie in the network's square"""
    source: str | None
    """the image's (first) file; None for an array"""

    @property
    def depth(self) -> int:
        """Number of slices."""
        return self.image.shape[-1]

    def place_clicks(self, clicks: Sequence[Sequence[float]]) -> tuple[np.ndarray, list[int]]:
        """Native voxels (n, 3) -> points (n, 2) of the square, (x, y), and the slice of each.

        Raises:
            ValueError: one lies outside the image.
        """
        points, slices = to_frame(clicks, native_affine=self.grid.affine, **self._turned)
        return points, slices.tolist()

    def place_roi(self, roi: Sequence[float]) -> dict[int, PointList]:
        """A native region [i0, i1, j0, j1, k0, k1], both ends included -> its box on each slice that it covers.

        Raises:
            ValueError: not six numbers, or outside the image.
        """
        boxes, slices = roi_to_frame(roi, native_affine=self.grid.affine, **self._turned)
        return {index: box_points(box) for index, box in zip(slices, boxes, strict=True)}

    def place_pixels(self, pixels: PointList) -> PointList:
        """Clicks or a box on pixels (x, y) of a slice, as simulated users give them -> points of the square."""
        if BOX_FIRST in pixels.labels:
            (x0, y0), (x1, y1) = pixels.points.tolist()
            roi = (y0, y1, x0, x1, 0, 0)
            return box_points(roi_to_frame(roi, native_affine=self.affine, **self._turned)[0][0])
        voxels = np.pad(pixels.points[:, ::-1].astype(np.float64), ((0, 0), (0, 1)))  # (n, 3): row, column, 0
        points, _ = to_frame(voxels, native_affine=self.affine, **self._turned)
        return point_list(points, pixels.labels)

    @property
    def _turned(self) -> dict[str, Any]:
        return {"affine": self.affine, "frame": self.frame, "depth": self.depth}


def box_points(box: Box) -> PointList:
    """A box's two corners."""
    return point_list([(box.x0, box.y0), (box.x1, box.y1)], [BOX_FIRST, BOX_LAST])


def read_volume(model: PromptModel, image: Paths | np.ndarray, affine: np.ndarray | None = None) -> Volume:
    """Preprocess an image.

    Args:
        model: whose preprocessing it is.
        image: a file of any readable format, a DICOM series folder or one file per channel; or an array (i, j, k),
            (i, j), or with several channels (C, i, j, k).
        affine: (4, 4) voxel -> mm RAS+ of an array; None for the identity.

    Raises:
        ValueError: an array of another shape; or preprocessing that resamples.
        ReadError: an unreadable file.
    """
    if isinstance(image, np.ndarray):
        rest = [step for step in model.preprocessing.transforms if not isinstance(step, ReadCased)]
        return make_volume(model, Compose(rest)({"image": _as_read(image, affine)})["image"])
    if affine is not None:
        raise UserFault("An affine belongs to an array; a file states its own.")
    files = as_paths(image)
    given = str(files[0]) if len(files) == 1 else [str(file) for file in files]
    return make_volume(model, model.preprocessing({"image": given})["image"], source=str(files[0]))


def make_volume(model: PromptModel, image: MetaTensor, source: str | None = None) -> Volume:
    """A volume of what the model's preprocessing gave, (C, H, W, D)."""
    affine = image.affine.cpu().numpy().astype(np.float64)
    shape = tuple(int(size) for size in image.shape[1:])
    return Volume(
        image=image.as_tensor(),
        affine=affine,
        grid=_native_grid(model, shape, affine, image.meta),
        frame=slice_frame(*shape[:2], model.image_size, model.fit),
        source=source,
    )


def _native_grid(model: PromptModel, shape: tuple[int, ...], affine: np.ndarray, meta: dict) -> NativeGrid:
    native_affine = np.asarray(meta[MetaKeys.ORIGINAL_AFFINE], dtype=np.float64)
    turn = np.linalg.solve(affine, native_affine)[:3, :3]  # native axes (columns) along turned ones (rows)
    whole = np.rint(turn)
    axes = tuple(int(axis) for axis in np.abs(whole).argmax(axis=1))
    if np.abs(turn - whole).max() > WHOLE or sorted(axes) != [0, 1, 2] or np.abs(whole).sum() != 3:
        raise UserFault(
            f"{model.source}: interactive segmentation needs preprocessing that keeps voxels as they are, this one "
            "resamples; use a bundle of slices, planned without a spacing."
        )
    native_shape = [0, 0, 0]
    for size, axis in zip(shape, axes, strict=True):
        native_shape[axis] = size
    flips = tuple(bool(whole[row, axis] < 0) for row, axis in enumerate(axes))
    return NativeGrid(shape=tuple(native_shape), affine=native_affine, axes=axes, flips=flips)


def _as_read(array: np.ndarray, affine: np.ndarray | None) -> MetaTensor:
    """An array as the project's readers give files."""
    if array.ndim not in (2, 3, 4):
        raise UserFault(f"set_image: an array must be (i, j), (i, j, k) or (C, i, j, k), got {array.shape}.")
    voxels = array if array.ndim == 4 else array[None, ..., None] if array.ndim == 2 else array[None]
    affine = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    meta = {
        MetaKeys.AFFINE: affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(voxels.shape[1:]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
        MetaKeys.SPACE: SpaceKeys.RAS,
    }
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32)), meta=meta)
