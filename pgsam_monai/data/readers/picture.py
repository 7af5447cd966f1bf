"""Pictures and masks: PNG, JPEG, TIFF, BMP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import PICTURE_SUFFIXES
from pgsam_monai.data.readers.base import CaseReader, ReadError

LOSSY_MASK_BAND = (64, 191)
"""grey values that JPEG's rounding makes of neither 0 nor 255"""
LOSSY_MASK_SHARE = 0.02
"""share of pixels in that band up to which a JPEG counts as a 0/255 mask with blurred edges"""
LOSSY_COLOUR = 48
"""difference between colour channels that JPEG's rounding of a grey mask stays below"""


class PictureReader(CaseReader):
    """PNG, JPEG, TIFF, BMP -> (C, rows, columns, 1), identity affine.

    Images: grey stays one channel (8 or 16 bit), everything with colour becomes RGB, alpha is dropped.
    Labels: grey values and palette indices stay as they are, colours are packed as r << 16 | g << 8 | b, JPEG
    masks are rounded back to 0 and 255. The planner reads them alike; EXIF turns are ignored by both.
    """

    suffixes = PICTURE_SUFFIXES

    def load(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        from PIL import Image

        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise ReadError(
                    f"holds {picture.n_frames} pages; save the stack as NIfTI or one picture per file."
                )
            pixels = _mask_pixels(picture) if self.role == "label" else _plain(picture)
        return np.moveaxis(pixels, -1, 0)[..., None], np.eye(4)


def _plain(picture: Any) -> np.ndarray:
    """Pixels (rows, columns, 1) of a grey picture or (rows, columns, 3), without palette and transparency."""
    if picture.mode == "LA":
        picture = picture.convert("L")
    elif picture.mode not in ("1", "L", "I", "F", "RGB") and not picture.mode.startswith("I;16"):
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _mask_pixels(picture: Any) -> np.ndarray:
    """Label values (rows, columns, 1)."""
    pixels = np.asarray(picture)[..., None] if picture.mode == "P" else _plain(picture)
    if picture.format == "JPEG":
        return _unblurred(pixels)
    if pixels.shape[-1] == 1:
        return pixels
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return (red << 16 | green << 8 | blue)[..., None]


def _unblurred(pixels: np.ndarray) -> np.ndarray:
    """A JPEG mask with the 0 and 255 that lossy compression blurred; no other values survive it."""
    low, high = LOSSY_MASK_BAND
    grey = pixels[..., pixels.shape[-1] // 2, None]
    coloured = int(np.ptp(pixels, axis=-1).max(initial=0)) > LOSSY_COLOUR
    between = float(np.mean((grey >= low) & (grey <= high)))
    if (
        coloured
        or between > LOSSY_MASK_SHARE
        or (grey.max(initial=0) <= high and grey.max(initial=0) > low // 8)
    ):
        raise ReadError(
            "is a JPEG mask that isn't 0 and 255; lossy compression destroys labels, save it as PNG."
        )
    return np.where(grey > (low + high) // 2, np.uint8(255), np.uint8(0))
