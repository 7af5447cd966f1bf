"""Fits a slice (rows, columns) into a network's square input and logits back onto the slice, half-pixel
accurate.

All resizing uses pixel centres (align_corners=False), so that fitting and un-fitting are inverses up to
interpolation. 2-D bundles have no other resampling: the volume stays on its own grid, which Invertd then
restores by permutation and flips alone, without loss.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.voxels.frame import SliceFrame
from pgsam_monai.voxels.resampling import resampled_classes


def fit_image(image: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, C, H, W) -> float32 (B, C, S, S), bilinear, antialiased where it shrinks; padding is 0."""
    image = resize(image.float(), (frame.fitted_height, frame.fitted_width))
    return _pad(image, frame)


def fit_label(label: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, 1, H, W) class indices -> (B, 1, S, S), same dtype, nearest pixel centre; padding is background
    0."""
    size = (frame.fitted_height, frame.fitted_width)
    if label.shape[-2:] != size:
        rows = _nearest(frame.height, size[0], label.device)
        columns = _nearest(frame.width, size[1], label.device)
        label = label[..., rows, :][..., columns]
    return _pad(label, frame)


def unfit_logits(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K, S, S) -> float32 (B, K, H, W): the padding is cropped, the rest resized bilinearly."""
    return resize(crop_logits(logits, frame), (frame.height, frame.width))


def crop_logits(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K, S, S) -> float32 (B, K, h, w) of what the slice fills, which covers it from edge to edge."""
    if logits.shape[-2:] != (frame.image_size, frame.image_size):
        raise UserFault(
            f"unfit_logits: logits must be {frame.image_size} x {frame.image_size}, got"
            f" {tuple(logits.shape[-2:])}; give the inferer and the network the same image_size."
        )
    return logits[..., : frame.fitted_height, : frame.fitted_width].float()


def on_slices(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K, h, w) of the square, of any size -> (B, K, H, W), as evaluation of a whole volume gives them."""
    return unfit_logits(enlarge(logits, (frame.image_size, frame.image_size)), frame)


def unfit_labels(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K+1, S, S) -> (B, 1, H, W) class of the highest un-fitted logit, the lower index on a tie."""
    if logits.device.type == "cpu":
        size = (frame.height, frame.width)
        found = [resampled_classes(own.numpy(), size) for own in crop_logits(logits.detach(), frame)]
        return torch.from_numpy(np.stack(found))[:, None]
    classes = logits.shape[1]
    best = unfit_logits(logits[:, :1], frame).clone()  # its own: logits may be returned unresized
    dtype = torch.uint8 if classes <= 256 else torch.int16
    labels = torch.zeros(best.shape, dtype=dtype, device=best.device)
    for index in range(1, classes):
        rival = unfit_logits(logits[:, index : index + 1], frame)
        labels.masked_fill_(rival > best, index)
        torch.maximum(best, rival, out=best)
    return labels


def enlarge(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Bilinear, (B, C, h, w) → (B, C, *size)."""
    if sides(x, 2, 3) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def sides(tensor: torch.Tensor, *axes: int) -> tuple[int, ...]:
    """Sizes along `axes` as plain integers, quietly so while tracing, where they become constants."""
    if not torch.jit.is_tracing():
        return tuple(tensor.shape[axis] for axis in axes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return tuple(int(tensor.shape[axis]) for axis in axes)


def resize(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear, antialiased where it shrinks."""
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _nearest(source: int, target: int, device: torch.device) -> torch.Tensor:
    """For each of `target` pixels the source pixel that holds its centre: 'nearest-exact', for any dtype."""
    centres = (torch.arange(target, device=device, dtype=torch.float64) + 0.5) * (source / target)
    return centres.floor().long().clamp_(max=source - 1)


def _pad(image: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    bottom, right = frame.image_size - image.shape[-2], frame.image_size - image.shape[-1]
    return F.pad(image, (0, right, 0, bottom)) if bottom or right else image
