"""The one resampling of 3-D networks: volumes onto a grid of another spacing, logits back onto their own.

Voxels are aligned as boxes: both grids cover the same field from edge to edge, so that the way back is the inverse up
to interpolation. The spacing reached is therefore the planned one up to the rounding of the grid's size, half a voxel
over the whole field.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.voxels.grid import Size
from pgsam_monai.voxels.resampling import Stretch


def resample_volume(volume: torch.Tensor, size: Size) -> torch.Tensor:
    """(C, H, W, D), any float type -> float32 (C, *size): linear, antialiased along the axes that shrink.

    A volume of that size already comes back with its very values. The axes are resampled one after the other, those
    that shrink most first, hence what lies between is never larger than the larger of source and result.

    Raises:
        ValueError: other than four axes, or a size below one.
    """
    if volume.ndim != 4 or len(size) != 3 or min(size) < 1:
        raise UserFault(
            f"resample_volume: needs a volume (C, H, W, D) and a size of three numbers from 1, got shape"
            f" {tuple(volume.shape)} and size {tuple(size)}."
        )
    volume = volume.float()
    for axis in sorted((1, 2, 3), key=lambda axis: size[axis - 1] / volume.shape[axis]):
        volume = _resample_axis(volume, axis, size[axis - 1])
    return volume


def resample_stretch(part: torch.Tensor, stretch: Stretch) -> torch.Tensor:
    """Planes (C, H, W, D) of a volume -> float32, along the stretch's axis the planes that are wanted of it.

    They are `resample_volume`'s of the whole volume along that axis alone, up to rounding.
    """
    index, weight = (torch.from_numpy(each).to(part.device) for each in stretch.taps())
    axis, part = stretch.axis + 1, part.float()
    spread = (-1, *(1,) * (part.ndim - axis - 1))
    total = part.index_select(axis, index[0]).mul_(weight[0].reshape(spread))
    for planes, share in zip(index[1:], weight[1:], strict=True):
        total.addcmul_(part.index_select(axis, planes), share.reshape(spread))
    return total


def resample_labels(labels: torch.Tensor, size: Size) -> torch.Tensor:
    """(1, H, W, D) class indices -> (1, *size) of the same type: that of the voxel which holds each new centre."""
    if tuple(labels.shape[1:]) == tuple(size):
        return labels
    return F.interpolate(labels[None].float(), size=tuple(size), mode="nearest-exact")[0].to(labels.dtype)


def _resample_axis(volume: torch.Tensor, axis: int, count: int) -> torch.Tensor:
    """One axis at a time: torch antialiases two axes at most, and on CPUs wrongly so along the first of them where the
    second has length one."""
    if volume.shape[axis] == count:
        return volume
    rows = volume.movedim(axis, -1)  # pictures whose last side alone changes
    size = (rows.shape[2], count)
    rows = F.interpolate(rows, size=size, mode="bilinear", align_corners=False, antialias=True)
    return rows.movedim(-1, axis)
