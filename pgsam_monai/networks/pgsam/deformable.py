"""Deformable convolution (Dai et al., 2017) by the quickest way the device has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d


def deformable_convolution(x: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """A stride-1, zero-padded k×k convolution whose k² taps are each moved by an offset in pixels.

    On GPUs this is `torchvision.ops.deform_conv2d`. On CPUs its backward pass is ten times slower than the same
    sum written with `grid_sample`, and few exporters know it; `sampled_convolution` equals it there.

    Args:
        x: (B, C, H, W).
        offsets: (B, 2k², H, W), for each tap in row order (down, right), in pixels of x.
        weight: (C_out, C, k, k), k odd.

    Returns:
        (B, C_out, H, W), in x's type.
    """
    with torch.autocast(x.device.type, enabled=False):  # half a mantissa can't address 512 columns
        full = (x.float(), offsets.float(), weight.float())
        if x.is_cuda and not torch.jit.is_tracing() and not torch.onnx.is_in_onnx_export():
            return deform_conv2d(*full, padding=weight.shape[-1] // 2).to(x.dtype)
        return sampled_convolution(*full).to(x.dtype)


def move(x: Tensor, offsets: Tensor) -> Tensor:
    """x (B, C, H, W) read bilinearly at each position plus its offset (B, 2, H, W) as (down, right), in pixels.

    Outside the image the nearest border value is read.
    """
    with torch.autocast(x.device.type, enabled=False):
        grid = _sampling_grid(offsets.float().unsqueeze(1), 1)
        return _sample(x.float(), grid, outside="border").squeeze(2).to(x.dtype)


def sampled_convolution(x: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """`deform_conv2d` as bilinear sampling and a sum over taps; arguments as above, float32."""
    size = weight.shape[-1]
    grid = _sampling_grid(offsets.unflatten(1, (size * size, 2)), size)  # (B, k², H, W, 2)
    return torch.einsum("bcthw,oct->bohw", _sample(x, grid), weight.flatten(2))


def _sample(x: Tensor, grid: Tensor, *, outside: str = "zeros") -> Tensor:
    """x (B, C, H, W) read at positions (B, T, H, W, 2) given as (x, y) in −1..1 → (B, C, T, H, W)."""
    taps, height = grid.shape[1:3]
    samples = F.grid_sample(x, grid.flatten(1, 2), mode="bilinear", padding_mode=outside, align_corners=False)
    return samples.unflatten(2, (taps, height))


def _sampling_grid(offsets: Tensor, size: int) -> Tensor:
    """Offsets (B, k², 2, H, W) as (down, right) → positions (B, k², H, W, 2) as (x, y) in grid_sample's −1..1."""
    taps, _, height, width = offsets.shape[1:]
    reach = torch.arange(size, device=offsets.device, dtype=offsets.dtype) - size // 2
    down = reach.repeat_interleave(size).reshape(1, taps, 1, 1)
    right = reach.repeat(size).reshape(1, taps, 1, 1)
    rows = torch.arange(height, device=offsets.device, dtype=offsets.dtype).reshape(1, 1, height, 1)
    cols = torch.arange(width, device=offsets.device, dtype=offsets.dtype).reshape(1, 1, 1, width)
    y = rows + down + offsets[:, :, 0]
    x = cols + right + offsets[:, :, 1]
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
