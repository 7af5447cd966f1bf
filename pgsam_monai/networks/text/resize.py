"""Antialiased bicubic resizing as two matrix products, which every exporter knows."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pgsam_monai.transforms.fit import sides

SHARPNESS = -0.5
"""The cubic kernel's parameter a (Keys, 1981), as in Pillow and in torch's antialiased resize."""


def resize_bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (B, C, H, W) to `size` = (rows, columns).

    Equals `F.interpolate(image, size, mode="bicubic", antialias=True)`, which ONNX has no operator for.
    """
    height, width = sides(image, 2, 3)
    if height != size[0]:
        image = _matrix(height, size[0], image) @ image  # (B, C, rows, W)
    if width != size[1]:
        image = image @ _matrix(width, size[1], image).t()  # (B, C, rows, columns)
    return image


def _matrix(before: int, after: int, like: Tensor) -> Tensor:
    """Weights (after, before) as a tensor of the type and at the place of `like`.

    In a trace, or where something else than numbers is computed with, it is a constant that follows `like` to its
    device, quietly so.
    """
    if type(like) is Tensor and not torch.jit.is_tracing() and not torch.compiler.is_compiling():
        return _placed(before, after, like.dtype, like.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.from_numpy(resizing_matrix(before, after)).to(like)


@lru_cache(maxsize=32)
def _placed(before: int, after: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix where it is needed, copied there once: a GPU waits for what comes from ordinary memory."""
    with torch.inference_mode(False):  # else no training could use it later
        return torch.from_numpy(resizing_matrix(before, after)).to(device, dtype)


@lru_cache(maxsize=32)
def resizing_matrix(before: int, after: int) -> np.ndarray:
    """Float32 weights (after, before): each row gives one output pixel as a mean of input pixels."""
    step = before / after  # input pixels per output pixel
    spread = max(step, 1.0)
    centres = step * (np.arange(after) + 0.5)
    distance = (np.arange(before)[None] + 0.5 - centres[:, None]) / spread
    weights = _cubic(np.abs(distance))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel at distances `x` >= 0."""
    a = SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
