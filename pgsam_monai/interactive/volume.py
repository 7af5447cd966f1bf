"""A volume as the network walks over it, and the way back to the voxels that the user sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from monai.utils.enums import MetaKeys, SpaceKeys
from torch import Tensor

from pgsam_monai.base.cases import Paths, as_paths, case_name, file_suffix, path_or_paths
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import Entry
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.prompts.click_files import Clicks
from pgsam_monai.prompts.frames import Placed, place_prompts
from pgsam_monai.transforms import ReadCased
from pgsam_monai.voxels.frame import SliceFrame, slice_frame
from pgsam_monai.voxels.labels import label_indices, label_values
from pgsam_monai.voxels.saving import prediction_suffix, save_label_map

WHOLE = 1e-3
"""How far a turn of axes may be from whole numbers: headers are rounded."""
ARRAY = "segmentation"
"""What the label map of an array is called; without a suffix, so that it is written as a new NIfTI file."""


class Place(NamedTuple):
    """A class on a slice: what one prompt is about."""

    slice: int
    """along the last axis of the preprocessed volume"""
    index: int
    """of the class, 1..K"""


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
class SlicedVolume:
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

    def place(self, clicks: Clicks) -> dict[str, list[Placed]]:
        """What a user said, where the network sees it; see `prompts.frames.place_prompts`."""
        return place_prompts(
            clicks, native_affine=self.grid.affine, affine=self.affine, frame=self.frame, depth=self.depth
        )


def read_volume(
    model: PromptModel, image: Paths | np.ndarray, affine: np.ndarray | None = None
) -> SlicedVolume:
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
    read = model.preprocessing({"image": path_or_paths(image)})["image"]
    return make_volume(model, read, source=str(as_paths(image)[0]))


def seen_by(model: PromptModel, volume: SlicedVolume) -> SlicedVolume:
    """The same as another network sees it: in its square, and the mean of all channels, unless it takes as many."""
    image = volume.image
    if image.shape[0] != model.network.in_channels:
        image = image.mean(dim=0, keepdim=True)
    frame = slice_frame(volume.frame.height, volume.frame.width, model.image_size, model.fit)
    return replace(volume, image=image, frame=frame)


def make_volume(model: PromptModel, image: MetaTensor, source: str | None = None) -> SlicedVolume:
    """A volume of what the model's preprocessing gave, (C, H, W, D)."""
    affine = image.affine.cpu().numpy().astype(np.float64)
    shape = tuple(int(size) for size in image.shape[1:])
    return SlicedVolume(
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


class DrawnLabelMap:
    """A label map on the image's own grid, drawn slice by slice.

    It holds the data set's own values; the type is that of `transforms.RestoreLabelsd`.
    """

    def __init__(self, volume: SlicedVolume, values: Sequence[Entry]) -> None:
        """All background; `values` of the classes 0..K, as `transforms.MapLabelsd` takes them."""
        self.volume = volume
        self._values = label_values(np.arange(len(values)), values)
        self.voxels = np.full(volume.grid.shape, self._values[0], dtype=self._values.dtype)
        """(i, j, k)"""
        self._turned = volume.grid.turned(self.voxels)
        kind = np.uint8 if len(values) <= 256 else np.int16
        self.indices = np.zeros(volume.image.shape[1:], dtype=kind)
        """class indices (H, W, D) of the preprocessed volume"""

    def draw(self, index: int, indices: np.ndarray) -> None:
        """Class indices (H, W) of slice `index` of the preprocessed volume."""
        self.indices[..., index] = indices
        self._turned[..., index] = self._values[indices]

    def save(self, path: str | Path) -> Path:
        """Write the label map in the kind of file that the image came in, as `pgsam predict` does; returns the file.

        Args:
            path: the file, with the image's suffix (`.png` for pictures, `.nii.gz` for series and arrays); or a
                folder, in which it gets the image's name.

        Raises:
            ValueError: another suffix.
        """
        source = self.volume.source or ARRAY
        path, suffix = Path(path), prediction_suffix(source)
        if path.is_dir() or not file_suffix(path):
            return save_label_map(
                self.voxels, path, case_name(source), source, affine=self.volume.grid.affine
            )
        if file_suffix(path) != suffix:
            raise UserFault(
                f"save: the label map of this image is written as {suffix}, got '{path}'; change the file's suffix, or "
                "give a folder."
            )
        name = path.name[: -len(suffix)]
        return save_label_map(self.voxels, path.parent, name, source, affine=self.volume.grid.affine)


def masks_by_place(
    model: PromptModel, grid: NativeGrid, label_map: np.ndarray, label: str | int | None
) -> dict[Place, np.ndarray]:
    """Where a label map holds classes: masks (H, W) of bool by slice and class, not empty.

    Args:
        model: whose classes.
        grid: of the image.
        label_map: (i, j, k), label values or, for one class, bool.
        label: the class that is meant; None for all that it holds.

    Raises:
        ValueError: another shape than the image's, or no such label.
    """
    if label_map.shape != grid.shape:
        raise UserFault(
            f"add_mask: the label map has shape {label_map.shape}, the image {grid.shape}; resample the label map."
        )
    chosen = range(1, len(model.names) + 1) if label is None else [model.index_of(label)]
    if label_map.dtype == bool:
        chosen, indices = [model.index_of(label)], label_map * model.index_of(label)
    else:
        indices = label_indices(label_map, model.values)
    masks = {index: grid.turned(indices == index) for index in chosen}  # (H, W, D) each
    return {
        Place(at, index): mask[..., at]
        for index, mask in masks.items()
        for at in np.flatnonzero(mask.any(axis=(0, 1))).tolist()
    }


def indices_shown(model: PromptModel, grid: NativeGrid, label_map: np.ndarray) -> np.ndarray:
    """Class indices (H, W, D) of a label map (i, j, k): label values of the model or, of one class, bool.

    Raises:
        ValueError: another shape than the image's.
    """
    if label_map.shape != grid.shape:
        raise UserFault(
            f"start_over: the label map has shape {label_map.shape}, the image {grid.shape}; resample the label map."
        )
    if label_map.dtype == bool:
        return grid.turned(label_map * np.uint8(model.index_of(None)))
    return grid.turned(label_indices(label_map, model.values))
