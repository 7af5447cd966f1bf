"""Pictures (PNG, JPEG, TIFF, BMP) as volumes of one slice: (channels, rows, columns, 1)."""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.volume.limits import require_memory, require_stored
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume

LOSSY_MASK_BAND = (64, 191)
"""grey values that JPEG's rounding makes of neither 0 nor 255"""
LOSSY_MASK_SHARE = 0.02
"""share of pixels in that band up to which a JPEG counts as a 0/255 mask with blurred edges"""
LOSSY_COLOUR = 48
"""difference between colour channels that JPEG's rounding of a grey mask stays below"""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""of PIL's decoders those that are asked, whatever a file looks like: some of the others start programs"""
_EXIF_ORIENTATION = 0x0112
_GREY_DTYPES = {
    "1": "u1",
    "L": "u1",
    "LA": "u1",
    "I;16": "u2",
    "I;16B": "u2",
    "I;16L": "u2",
    "I;16N": "u2",
    "I": "i4",
    "F": "f4",
}
"""PIL modes of one channel; all others become RGB"""


def read_picture(file: Path) -> Volume:
    """Grey pictures have 1 channel, colour and palette ones 3; no transparency. Raises ReadError."""
    with _opened(file) as image:
        notes = _notes(image)
        voxels = np.asarray(_plain(image))
    return _one_slice(voxels, notes)


def read_mask(file: Path) -> Volume:
    """Palette pictures give their indices, grey ones their values, colours red<<16 | green<<8 | blue (int32).

    JPEG masks are rounded back to 0 and 255. Raises ReadError, also for a JPEG that holds anything else.
    """
    with _opened(file) as image:
        notes, lossy = _notes(image), image.format == "JPEG"
        voxels = np.asarray(image if image.mode == "P" else _plain(image))
    if lossy:
        voxels = _unblurred(voxels, file)
        notes.append("a JPEG mask: grey values are rounded back to 0 and 255; save masks as PNG")
    if voxels.ndim == 3:
        red, green, blue = np.moveaxis(voxels.astype(np.int32), -1, 0)
        voxels = red << 16 | green << 8 | blue
    return _one_slice(voxels, notes)


def read_picture_geometry(file: Path) -> Geometry:
    """Size and channels of read_picture's result, from the header only. Raises ReadError."""
    with _opened(file) as image:
        notes, (columns, rows) = _notes(image), image.size
        grey = _GREY_DTYPES.get(image.mode)
    return Geometry(
        shape=(rows, columns, 1),
        channels=1 if grey else 3,
        affine=np.eye(4),
        spacing=(1.0, 1.0, 1.0),
        dtype=np.dtype(grey or "u1"),
        notes=tuple(notes),
    )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A PIL image of one page; PIL's errors become ReadError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _unwarned(), Image.open(file, formats=_FORMATS) as image:
            _check_size(image, file)
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise ReadError(file, f"{pages} pages in one picture; save the stack as NIfTI or NRRD")
            yield image
    except FileNotFoundError as error:
        raise ReadError(file, "the file does not exist") from error
    except UnidentifiedImageError as error:
        raise ReadError(file, "no picture that can be decoded; is it empty or of another format?") from error
    except Image.DecompressionBombError as error:
        raise ReadError(file, f"too large a picture ({error}); save it as NIfTI or NRRD") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ReadError(file, f"damaged or truncated: {error}; copy or export it again") from error


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Large pictures are measured against our own limit."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _check_size(image: Any, file: Path) -> None:
    """Raises ReadError for a size that memory, or the file, can't hold."""
    bands = len(image.getbands())
    dtype = np.dtype(_GREY_DTYPES.get(image.mode, "u1"))
    promised = require_memory(file, (*image.size, bands), dtype)
    if image.format == "PNG":
        bits = 8 if image.mode in ("1", "P", "L") else 1  # a pixel may take as little as a bit
        require_stored(file, promised // bits, file.stat().st_size, packed=True)


def _plain(image: Any) -> Any:
    """Without palette and transparency: one grey channel or RGB."""
    if image.mode in _GREY_DTYPES:
        return image.convert("L") if image.mode == "LA" else image
    return image if image.mode == "RGB" else image.convert("RGB")


def _notes(image: Any) -> list[str]:
    turned = image.getexif().get(_EXIF_ORIENTATION, 1)
    if turned in (0, 1):
        return []
    return [f"EXIF asks viewers to turn this picture (orientation {turned}); it is used as stored"]


def _unblurred(voxels: np.ndarray, file: Path) -> np.ndarray:
    """A JPEG mask with its 0 and 255 restored."""
    grey = voxels
    if voxels.ndim == 3:
        if int(np.ptp(voxels, axis=-1).max(initial=0)) > LOSSY_COLOUR:
            raise ReadError(
                file, "a coloured JPEG mask: lossy compression destroys label colours; save it as PNG"
            )
        grey = voxels[..., 1]
    low, high = LOSSY_MASK_BAND
    between = float(np.mean((grey >= low) & (grey <= high)))
    if between > LOSSY_MASK_SHARE or not (grey > high).any() and grey.max(initial=0) > low // 8:
        raise ReadError(
            file,
            f"a JPEG mask that isn't 0/255 ({between:.1%} of its pixels lie between {low} and {high}, "
            f"maximum {grey.max(initial=0)}): lossy compression destroys label values; save it as PNG",
        )
    return np.where(grey > (low + high) // 2, np.uint8(255), np.uint8(0))


def _one_slice(voxels: np.ndarray, notes: list[str]) -> Volume:
    """(rows, columns) or (rows, columns, channels) as a volume without geometry."""
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    channels_first = voxels[None] if voxels.ndim == 2 else np.moveaxis(voxels, -1, 0)
    return Volume(
        voxels=channels_first[..., None], affine=np.eye(4), spacing=(1.0, 1.0, 1.0), notes=tuple(notes)
    )
