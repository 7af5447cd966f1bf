"""The NIfTI-1 and NIfTI-2 header: shape, data type, scaling and the affine.

Frames are nibabel's: the sform if its code is set, else the qform, else the voxel size with a centred origin
and i running to the left. Parsed without nibabel, whose import costs more than reading many a file; the tests
compare both.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.volume.records import ReadError, spacing_of, usable_affine

DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
COLOUR_BYTES = {128: 3, 2304: 4}
"""RGB24 and RGBA32: interleaved bytes"""
UNITS = {1: "metres", 3: "micrometres"}
PIXDIM_TOLERANCE = 1e-3
"""relative difference of voxel sizes in header and affine that is worth a note"""
HALF_TURN = 3 * float(np.finfo(np.float32).eps)
"""what is left of a quaternion's squared length, by rounding, where the first part is 0"""

_FIELDS: dict[int, dict[str, tuple[str, int]]] = {
    348: {
        "magic": ("4s", 344),
        "dim": ("8h", 40),
        "datatype": ("h", 70),
        "pixdim": ("8f", 76),
        "offset": ("f", 108),
        "scaling": ("2f", 112),
        "units": ("B", 123),
        "codes": ("2h", 252),
        "quaternion": ("3f", 256),
        "shift": ("3f", 268),
        "srow": ("12f", 280),
    },
    540: {
        "magic": ("4s", 4),
        "dim": ("8q", 16),
        "datatype": ("h", 12),
        "pixdim": ("8d", 104),
        "offset": ("q", 168),
        "scaling": ("2d", 176),
        "units": ("i", 500),
        "codes": ("2i", 344),
        "quaternion": ("3d", 352),
        "shift": ("3d", 376),
        "srow": ("12d", 400),
    },
}
"""size of the header -> field -> (struct format without byte order, offset in bytes)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """The fields that reading needs."""

    shape: tuple[int, int, int]
    extra: int
    """values per voxel beyond the third file axis, stored volume by volume"""
    colours: int
    """interleaved bytes per voxel of colour data, else 0"""
    dtype: np.dtype
    """stored, with the file's byte order"""
    slope: float
    inter: float
    offset: int
    """byte where voxels begin, in this file or in the .img"""
    paired: bool
    """voxels lie in a separate .img"""
    affine: np.ndarray
    notes: tuple[str, ...]

    @property
    def channels(self) -> int:
        return self.colours or self.extra

    @property
    def scaled(self) -> bool:
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def read_dtype(self) -> np.dtype:
        """The stored type in native order; float32 (float64 stays) when values are scaled."""
        native = self.dtype.newbyteorder("=")
        return np.dtype(np.float32) if self.scaled and native != np.float64 else native


def header_size(start: bytes, file: Path) -> int:
    """348 or 540, from the first four bytes. Raises ReadError when it is no NIfTI header."""
    sizes = [struct.unpack(order + "i", start[:4])[0] for order in "<>"] if len(start) >= 4 else []
    for size in sizes:
        if size in _FIELDS:
            return size
    raise ReadError(
        file, "the file is empty" if not start else "not a NIfTI file (no NIfTI header at its start)"
    )


def parse_header(raw: bytes, file: Path) -> Header:
    """Decode the header's bytes. Raises ReadError on what can't be a volume."""
    size = header_size(raw, file)
    order = "<" if struct.unpack("<i", raw[:4])[0] == size else ">"
    fields = {name: struct.unpack_from(order + code, raw, at) for name, (code, at) in _FIELDS[size].items()}
    magic = fields["magic"][0]
    if magic not in (b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0"):
        raise ReadError(file, "an Analyze or damaged header (no NIfTI mark); convert the file to NIfTI")
    paired = magic.startswith(b"ni")
    shape, extra = _shape(fields["dim"], file)
    colours = COLOUR_BYTES.get(fields["datatype"][0], 0)
    slope, inter = _scaling(fields["scaling"], file)
    affine, notes = _affine(fields, shape, file)
    if colours and extra > 1:
        raise ReadError(file, f"colour data with {extra} values per voxel; save one colour volume")
    return Header(
        shape=shape,
        extra=extra,
        colours=colours,
        dtype=_dtype(fields["datatype"][0], order, file),
        slope=slope,
        inter=inter,
        offset=_offset(fields["offset"][0], 0 if paired else size + 4, file),
        paired=paired,
        affine=affine,
        notes=tuple(notes),
    )


def _offset(given: float, least: int, file: Path) -> int:
    if not -1 < given < 1 << 53:  # NaN too
        raise ReadError(file, f"its voxels can't begin at byte {given:g} (vox_offset); mend the header")
    return max(int(given), least)


def _shape(dim: tuple[int, ...], file: Path) -> tuple[tuple[int, int, int], int]:
    axes = dim[1 : dim[0] + 1] if 1 <= dim[0] <= 7 else ()
    if not axes or min(axes) < 1:
        raise ReadError(file, f"the header's shape is unusable: dim = {list(dim)}")
    i, j, k = (*axes, 1, 1)[:3]
    beyond = [length for length in axes[3:] if length > 1]
    if len(beyond) > 1:
        raise ReadError(file, f"shape {axes} has more than one axis of channels; split the file")
    return (i, j, k), beyond[0] if beyond else 1


def _dtype(code: int, order: str, file: Path) -> np.dtype:
    if code in COLOUR_BYTES:
        return np.dtype(np.uint8)
    if code not in DTYPES:
        raise ReadError(file, f"NIfTI data type {code} (complex, bit or long double) is no image; convert it")
    return np.dtype(order + DTYPES[code])


def _scaling(scaling: tuple[float, float], file: Path) -> tuple[float, float]:
    """(slope, inter); a slope of 0 or NaN means unscaled."""
    slope, inter = scaling
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite([slope, inter]).all():
        raise ReadError(file, f"scl_slope {slope} and scl_inter {inter} must be finite; mend the header")
    return float(slope), float(inter)


def _affine(fields: dict[str, Any], shape: tuple[int, int, int], file: Path) -> tuple[np.ndarray, list[str]]:
    """The best affine by nibabel's order, and notes on what the header contradicts."""
    pixdim = np.abs(np.array(fields["pixdim"], dtype=np.float64))
    quaternion_code, srow_code = fields["codes"]
    if srow_code <= 0 and any(
        size == 0 and length > 1 for size, length in zip(pixdim[1:4], shape, strict=True)
    ):
        raise ReadError(file, "pixdim is 0: the header doesn't say how large its voxels are; mend it")
    pixdim[pixdim == 0] = 1.0
    if srow_code > 0:
        affine = np.vstack([np.reshape(np.array(fields["srow"], dtype=np.float64), (3, 4)), [0, 0, 0, 1]])
    elif quaternion_code > 0:
        affine = _from_quaternion(fields, pixdim)
    else:
        affine = np.diag([-pixdim[1], pixdim[2], pixdim[3], 1.0])
        affine[:3, 3] = -(np.array(shape) - 1) / 2 @ affine[:3, :3]
    affine, notes = usable_affine(affine, shape, file)
    if srow_code <= 0 and quaternion_code <= 0:
        notes.append("the header states no orientation (sform and qform codes 0): L-A-S axes assumed")
    sizes = np.array(spacing_of(affine))
    if np.any(np.abs(sizes - pixdim[1:4]) > PIXDIM_TOLERANCE * sizes):
        stated = ", ".join(f"{size:.4g}" for size in pixdim[1:4])
        used = ", ".join(f"{size:.4g}" for size in sizes)
        notes.append(
            f"voxel size in pixdim ({stated}) disagrees with the affine ({used} mm): the affine is used"
        )
    unit = UNITS.get(fields["units"][0] & 7)
    if unit:
        notes.append(f"the header gives its lengths in {unit}; they are read as millimetres")
    return affine, notes


def _from_quaternion(fields: dict[str, Any], pixdim: np.ndarray) -> np.ndarray:
    b, c, d = np.array(fields["quaternion"], dtype=np.float64)
    squared = 1.0 - (b * b + c * c + d * d)
    a = np.sqrt(squared) if squared > HALF_TURN else 0.0
    length = a * a + b * b + c * c + d * d
    a, b, c, d = np.array([a, b, c, d]) / np.sqrt(length)
    rotation = np.array(
        [
            [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
        ]
    )
    handedness = -1.0 if fields["pixdim"][0] == -1 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * (pixdim[1:4] * [1, 1, handedness])
    affine[:3, 3] = fields["shift"]
    return affine
