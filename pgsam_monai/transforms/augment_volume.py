"""Random transforms of training patches (C, H, W, D) on the 0..1 scale that MONAI lacks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from pgsam_monai.base.errors import UserFault
from pgsam_monai.transforms.meta import with_meta_of

LEVELS = 255
"""of an 8-bit picture, which both transforms are defined for"""


class RandPosterized(RandomizableTransform, MapTransform):
    """Leaves the highest few of eight bits of each intensity, as Pillow's `posterize` does to 8-bit pictures.

    Args:
        keys: image keys, tensors of any shape; values beyond 0..1 are clipped.
        prob: share of patches changed.
        bits: (fewest, most) bits, drawn uniformly; 8 rounds to 1/255.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        bits: Sequence[int] = (4, 8),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if not 1 <= bits[0] <= bits[1] <= 8:
            raise UserFault(f"RandPosterized: bits must be 1 <= fewest <= most <= 8, got {tuple(bits)}.")
        self.bits = tuple(bits)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if self._do_transform:
            step = 2 ** (8 - int(self.R.randint(self.bits[0], self.bits[1] + 1)))
            for key in self.key_iterator(d):
                d[key] = with_meta_of(posterize(torch.as_tensor(d[key]), step), d[key])
        return d


class RandSharpnessd(RandomizableTransform, MapTransform):
    """Blurs or sharpens in plane, as Pillow's `ImageEnhance.Sharpness` does to pictures.

    The image moves away from its smoothed self (factor above 1) or towards it (below 1); values are clipped to 0..1.
    MONAI's RandGaussianSharpend sharpens only.

    Args:
        keys: image keys, tensors (C, H, W, D).
        prob: share of patches changed.
        factor: (smallest, largest), drawn uniformly; 0 is the smoothed image, 1 the image itself.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        factor: Sequence[float] = (0.1, 1.9),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if not 0 <= factor[0] <= factor[1]:
            raise UserFault(f"RandSharpnessd: factor must be 0 <= smallest <= largest, got {tuple(factor)}.")
        self.factor = tuple(factor)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if self._do_transform:
            factor = float(self.R.uniform(*self.factor))
            for key in self.key_iterator(d):
                d[key] = with_meta_of(sharpen(torch.as_tensor(d[key]), factor), d[key])
        return d


def posterize(image: torch.Tensor, step: int) -> torch.Tensor:
    """Intensities 0..1 -> multiples of step / 255, rounded to 1/255 and then down."""
    levels = (image.clamp(0, 1) * LEVELS).round_()
    return levels.sub_(levels % step).div_(LEVELS)


def sharpen(image: torch.Tensor, factor: float) -> torch.Tensor:
    """(C, H, W, D) -> the same, `factor` times as far from its in-plane mean over 3 x 3 voxels, whose centre counts
    five times, as in Pillow; a slice's edge voxels are as they were."""
    inside = image[:, 1:-1, 1:-1]
    if not inside.numel():
        return image
    sums = 9 * F.avg_pool3d(image, kernel_size=(3, 3, 1), stride=1)
    smoothed = image.clone()
    smoothed[:, 1:-1, 1:-1] = (sums + 4 * inside) / 13
    return (smoothed + factor * (image - smoothed)).clamp_(0, 1)
