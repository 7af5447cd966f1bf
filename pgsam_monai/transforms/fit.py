"""Fits a slice (rows, columns) into a network's square input and logits back onto the slice.

Both ways use pixel centres (align_corners=False), half-pixel accurate, or both go from corner to corner, where the
frame's sampling is the papers': fitting and un-fitting are inverses up to interpolation. 2-D bundles have no other
resampling: the volume stays on its own grid, which Invertd then restores by permutation and flips alone, without loss.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.voxels.corners import cubic_weights, nearest_places
from pgsam_monai.voxels.frame import SliceFrame
from pgsam_monai.voxels.resampling import resampled_classes


def fit_image(image: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, C, H, W) -> float32 (B, C, S, S), sampled as the frame says (`voxels.frame.VIA`); padding is 0."""
    fitted = _cubic(image, frame) if frame.corners else resize(image.float(), _fitted(frame))
    return _pad(fitted, frame)


def fit_label(label: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, 1, H, W) class indices -> (B, 1, S, S), same dtype, the nearest pixel on the image's grid; padding is
    background 0."""
    size = _fitted(frame)
    if frame.corners:
        return _pad(_picked(label, size, frame.via), frame)
    if label.shape[-2:] != size:
        rows = _nearest(frame.height, size[0], label.device)
        columns = _nearest(frame.width, size[1], label.device)
        label = label[..., rows, :][..., columns]
    return _pad(label, frame)


def unfit_logits(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K, S, S) -> float32 (B, K, H, W): the padding is cropped, the rest resized bilinearly."""
    own, size = crop_logits(logits, frame), (frame.height, frame.width)
    if not frame.corners or own.shape[-2:] == size:
        return resize(own, size)
    return F.interpolate(own, size=size, mode="bilinear", align_corners=True)


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
        cropped = crop_logits(logits.detach(), frame)
        found = [resampled_classes(own.numpy(), size, corners=frame.corners) for own in cropped]
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


def papers_labels(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K+1, S, S) -> (B, 1, H, W) class of the highest logit at the network's size, carried to the slice by nearest
    neighbour from corner to corner: what TransUNet's, SAMed's, H-SAM's and PG-SAM's `test_single_volume` measures.

    Raises:
        UserFault: the frame has padding, which these don't know.
    """
    square = (frame.image_size, frame.image_size)
    if _fitted(frame) != square:
        raise UserFault(
            "The papers' protocol stretches slices to a square, and here they are padded; give --protocol mm, or plan "
            "the bundle with fit=stretch."
        )
    dtype = torch.uint8 if logits.shape[1] <= 256 else torch.int16
    found = crop_logits(logits, frame).argmax(dim=1, keepdim=True).to(dtype)
    return _picked(found, (frame.height, frame.width))


def both_labels(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, K+1, S, S) -> (B, 2, H, W): `unfit_labels` and `papers_labels`."""
    return torch.cat([unfit_labels(logits, frame), papers_labels(logits, frame)], dim=1)


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


def _fitted(frame: SliceFrame) -> tuple[int, int]:
    return frame.fitted_height, frame.fitted_width


def _cubic(image: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(B, C, H, W) -> float32 (B, C, h, w), along a cubic spline from corner to corner."""
    if tuple(image.shape[-2:]) == _fitted(frame) and not frame.via:
        return image.float()
    rows, columns = (
        torch.from_numpy(cubic_weights(own, target, frame.via)).to(image.device)
        for own, target in zip(image.shape[-2:], _fitted(frame), strict=True)
    )
    return (rows @ image.double() @ columns.T).float()


def _picked(label: torch.Tensor, size: tuple[int, int], via: tuple[int, ...] = ()) -> torch.Tensor:
    """(B, 1, H, W) -> (B, 1, *size), same dtype, the nearest pixel from corner to corner; 0 where there is none."""
    rows, columns = (
        torch.from_numpy(nearest_places(own, target, via)).to(label.device)
        for own, target in zip(label.shape[-2:], size, strict=True)
    )
    picked = label[..., rows, :][..., columns]
    return picked.masked_fill_((rows < 0)[:, None] | (columns < 0), 0)


def _nearest(source: int, target: int, device: torch.device) -> torch.Tensor:
    """For each of `target` pixels the source pixel that holds its centre: 'nearest-exact', for any dtype."""
    centres = (torch.arange(target, device=device, dtype=torch.float64) + 0.5) * (source / target)
    return centres.floor().long().clamp_(max=source - 1)


def _pad(image: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    bottom, right = frame.image_size - image.shape[-2], frame.image_size - image.shape[-1]
    return F.pad(image, (0, right, 0, bottom)) if bottom or right else image
