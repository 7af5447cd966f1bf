"""What a bundle finds in an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pgsam_monai.voxels.labels import label_indices, label_values
from pgsam_monai.voxels.saving import save_label_map


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """A label map on the image's own grid."""

    voxels: np.ndarray
    """(i, j, k) integers"""
    affine: np.ndarray
    """(4, 4) voxel -> mm RAS+"""
    source: str
    """the image's (first) file"""
    names: Sequence[str]
    """of the classes, the background first"""
    values: Sequence[int]
    """of the classes, in the order of `names`"""
    soft_dice: Mapping[str, float] = field(default_factory=dict)
    """class name -> Soft Dice Confidence, see `inference.confidence`, of those that the network found anywhere"""

    @property
    def label_names(self) -> dict[str, int]:
        """Foreground names -> values."""
        return dict(zip(self.names[1:], self.values[1:], strict=True))

    def consecutive(self) -> LabelResult:
        """The same with 1, 2, … K for the classes in their order, and 0 for the background."""
        values = list(range(len(self.values)))
        if list(self.values) == values:
            return self
        indices = label_indices(self.voxels, list(self.values))
        return replace(self, voxels=label_values(indices, values), values=values)

    def only(self, name: str) -> LabelResult:
        """One class alone; all else is background."""
        kept = (0, self.names.index(name))
        values = [self.values[index] for index in kept]
        voxels = np.where(self.voxels == values[1], self.voxels, self.voxels.dtype.type(values[0]))
        return replace(self, voxels=voxels, names=[self.names[index] for index in kept], values=values)

    def of_part(self, values: Mapping[int, int], background: int) -> LabelResult:
        """As one of the data sets that were merged would have it: its own values, and no class that it doesn't have.

        Args:
            values: value here -> value there.
            background: there.
        """
        kept = [index for index, value in enumerate(self.values) if index and value in values]
        labels = [background, *(values[self.values[index]] for index in kept)]
        indices = label_indices(self.voxels, [self.values[0], *(self.values[index] for index in kept)])
        names = [self.names[0], *(self.names[index] for index in kept)]
        return replace(self, voxels=label_values(indices, labels), names=names, values=labels)

    def save(self, folder: str | Path, name: str) -> Path:
        """Write <folder>/<name> in the kind of file that the image came in; returns the file."""
        return save_label_map(self.voxels, folder, name, self.source, affine=self.affine)
