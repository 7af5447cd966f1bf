"""A label map on the image's own grid, drawn slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import case_name, file_suffix
from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.answers import Place
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.volume import NativeGrid, Volume
from pgsam_monai.transforms.labels import Entry, label_indices, label_values
from pgsam_monai.transforms.save import prediction_suffix, save_label_map

ARRAY = "segmentation"
"""What the label map of an array is called; without a suffix, so that it is written as a new NIfTI file."""


class LabelMap:
    """Holds the data set's own values; the type is that of `transforms.RestoreLabelsd`."""

    def __init__(self, volume: Volume, values: Sequence[Entry]) -> None:
        """All background; `values` of the classes 0..K, as `transforms.MapLabelsd` takes them."""
        self.volume = volume
        self._values = label_values(np.arange(len(values)), values)
        self.voxels = np.full(volume.grid.shape, self._values[0], dtype=self._values.dtype)
        """(i, j, k)"""
        self._turned = volume.grid.turned(self.voxels)

    def draw(self, index: int, indices: np.ndarray) -> None:
        """Class indices (H, W) of slice `index` of the preprocessed volume."""
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
