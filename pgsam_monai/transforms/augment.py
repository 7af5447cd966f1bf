"""Random transforms of fitted training slices, made for speed: 1.3 ms a slice of 224 x 224 on one core,
where MONAI's RandAffined, RandAdjustContrastd, RandScaleIntensityd, RandShiftIntensityd and
RandGaussianNoised take 5."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from pgsam_monai.base.errors import UserFault


class RandAffineSliced(RandomizableTransform, MapTransform):
    """One random rotation, scaling and shift of image and label about the centre; outside becomes 0.

    Labels are sampled at the nearest pixel, never interpolated. Tensors (C, H, W); only what all keys share
    in H and W is assumed.

    Args:
        keys: image and label keys.
        label_keys: those sampled by nearest neighbour.
        prob: share of slices transformed.
        rotate: largest angle, degrees, either way.
        scale: (smallest, largest) factor by which structures grow.
        shift: largest shift, as a share of the side, either way along both axes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        prob: float = 1.0,
        rotate: float = 20.0,
        scale: Sequence[float] = (0.8, 1.25),
        shift: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if not 0 < scale[0] <= scale[1]:
            raise UserFault(f"RandAffineSliced: scale must be 0 < smallest <= largest, got {tuple(scale)}.")
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        self.rotate, self.scale, self.shift = rotate, tuple(scale), shift

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return d
        angle = math.radians(self.R.uniform(-self.rotate, self.rotate))
        factor = math.exp(self.R.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        shift = self.R.uniform(-2 * self.shift, 2 * self.shift, size=2)  # grid coordinates run from -1 to 1
        grids: dict[tuple[int, int], torch.Tensor] = {}
        for key in self.key_iterator(d):
            size = tuple(d[key].shape[-2:])
            if size not in grids:
                grids[size] = _grid(*size, angle=angle, factor=factor, shift=shift)
            d[key] = _sample(d[key], grids[size], nearest=key in self.label_keys)
        return d


class RandCropSliced(RandomizableTransform, MapTransform):
    """A square window of image and label, anywhere in the slice, enlarged to the slice's size.

    MONAI's random crops draw height and width apart, which would squeeze shapes. Labels are sampled at the nearest
    pixel, never interpolated. Tensors (C, H, W); only what all keys share in H and W is assumed.

    Args:
        keys: image and label keys.
        label_keys: those sampled by nearest neighbour.
        prob: share of slices transformed.
        side: (smallest, largest) side of the window, as a share of the slice's, drawn uniformly.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        prob: float = 1.0,
        side: Sequence[float] = (0.2, 0.8),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if not 0 < side[0] <= side[1] <= 1:
            raise UserFault(f"RandCropSliced: side must be 0 < smallest <= largest <= 1, got {tuple(side)}.")
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        self.side = tuple(side)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return d
        side = self.R.uniform(*self.side)
        shift = self.R.uniform(side - 1, 1 - side, size=2)  # grid coordinates run from -1 to 1
        for key in self.key_iterator(d):
            grid = _grid(*d[key].shape[-2:], angle=0.0, factor=1 / side, shift=shift)
            d[key] = _sample(d[key], grid, nearest=key in self.label_keys)
        return d


class RandIntensitySliced(RandomizableTransform, MapTransform):
    """Random brightness, contrast, gamma and Gaussian noise on slices scaled to about [0, 1]. Tensors (C, H,
    W).

    Args:
        keys: image keys.
        prob: probability of each of the four, drawn separately.
        brightness: largest shift, either way.
        contrast: (smallest, largest) factor about the slice's mean.
        gamma: (smallest, largest) exponent on the values clipped to [0, 1].
        noise: largest standard deviation of the noise.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        brightness: float = 0.1,
        contrast: Sequence[float] = (0.75, 1.3),
        gamma: Sequence[float] = (0.7, 1.5),
        noise: float = 0.05,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.brightness, self.contrast, self.gamma, self.noise = (
            brightness,
            tuple(contrast),
            tuple(gamma),
            noise,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._change(torch.as_tensor(d[key]).clone())
        return d

    def _change(self, image: torch.Tensor) -> torch.Tensor:
        if self.R.rand() < self.prob:
            mean = image.mean()
            image.sub_(mean).mul_(_log_uniform(self.R, self.contrast)).add_(mean)
        if self.R.rand() < self.prob:
            image.add_(float(self.R.uniform(-self.brightness, self.brightness)))
        if self.R.rand() < self.prob:
            image.clamp_(0, 1).pow_(_log_uniform(self.R, self.gamma))
        if self.R.rand() < self.prob:
            generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
            image.add_(
                torch.randn(image.shape, generator=generator), alpha=float(self.R.uniform(0, self.noise))
            )
        return image


def _log_uniform(random: np.random.RandomState, limits: Sequence[float]) -> float:
    return math.exp(random.uniform(math.log(limits[0]), math.log(limits[1])))


def _grid(H: int, W: int, *, angle: float, factor: float, shift: np.ndarray) -> torch.Tensor:
    """(1, H, W, 2) sampling positions: where each output pixel comes from, in grid_sample's coordinates."""
    cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
    matrix = [[cos, -sin * H / W, -float(shift[0])], [sin * W / H, cos, -float(shift[1])]]
    return F.affine_grid(torch.tensor([matrix]), [1, 1, H, W], align_corners=False)


def _sample(image: Any, grid: torch.Tensor, *, nearest: bool) -> torch.Tensor:
    image = torch.as_tensor(image)
    mode = "nearest" if nearest else "bilinear"
    sampled = F.grid_sample(image[None].float(), grid, mode=mode, padding_mode="zeros", align_corners=False)[
        0
    ]
    return sampled.to(image.dtype)
