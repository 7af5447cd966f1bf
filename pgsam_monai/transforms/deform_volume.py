"""A random affine map and a smooth deformation of training patches (C, H, W, D), both in one resampling."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandAffineGrid, RandomizableTransform, Resample
from monai.transforms.utils import create_grid

from pgsam_monai.base.errors import UserFault

POINTS = 5
"""along an axis of the grid that deforms a patch"""


class RandDeformVolumed(RandomizableTransform, MapTransform):
    """MONAI's RandAffined with a smooth deformation: a coarse grid of points is moved at random, and what lies between
    them with it (Ronneberger et al., MICCAI 2015, section 3.1). Outside becomes 0.

    MONAI's Rand3DElasticd smooths a displacement of every voxel instead, with filters as wide as the patch.

    Args:
        keys: image and label keys, tensors (C, H, W, D) of one size.
        label_keys: those sampled by nearest neighbour.
        prob: share of patches transformed.
        rotate_range, scale_range, translate_range: as RandAffined's, about each axis and along it, in voxels.
        bend: largest standard deviation of the points' displacement, as a share of each side; 0 bends nothing.

    Raises:
        ValueError: bend below 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        prob: float = 1.0,
        rotate_range: Sequence[float] | float | None = None,
        scale_range: Sequence[Sequence[float]] | float | None = None,
        translate_range: Sequence[float] | float | None = None,
        bend: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if bend < 0:
            raise UserFault(f"RandDeformVolumed: needs bend >= 0, got {bend}.")
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        self.affine = RandAffineGrid(
            rotate_range=rotate_range, scale_range=scale_range, translate_range=translate_range
        )
        self.resample = Resample(padding_mode="zeros")
        self.bend = bend

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandDeformVolumed:
        """As MONAI's; the affine map draws from the same numbers."""
        super().set_random_state(seed, state)
        self.affine.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return d
        grid = None
        for key in self.key_iterator(d):
            grid = self._grid(d[key].shape[1:]) if grid is None else grid
            mode = "nearest" if key in self.label_keys else "bilinear"
            d[key] = self.resample(d[key], grid=grid, mode=mode)
        return d

    def _grid(self, size: Sequence[int]) -> torch.Tensor:
        """(4, H, W, D) voxels about the centre that the new ones come from."""
        grid = create_grid(size, backend="torch", dtype=torch.float32)
        if self.bend:
            deviations = self.R.uniform(0, self.bend) * np.asarray(size)
            points = self.R.normal(0, deviations, size=(POINTS, POINTS, POINTS, 3)).transpose(3, 0, 1, 2)
            voxels = torch.from_numpy(points[None]).float()
            grid[:3] += F.interpolate(voxels, size=tuple(size), mode="trilinear", align_corners=True)[0]
        return self.affine(grid=grid)
