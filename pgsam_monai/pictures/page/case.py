"""A case as its page shows it: image, prediction and reference on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import Paths, as_paths, case_name, file_format, file_suffix
from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.planes import choose_plane
from pgsam_monai.base.volume import read_image, read_label_file
from pgsam_monai.pictures.page.classes import MAX_VALUE
from pgsam_monai.pictures.page.grid import Grid, make_grid

GRID_TOLERANCE = 0.5
"""How far label map and image may lie apart, in voxels; less cannot be seen."""


@dataclass(frozen=True, kw_only=True)
class PageCase:
    """Arrays (z, y, x) as displayed, see `grid.Grid`."""

    name: str
    files: dict[str, str]
    """names, without folders, of "image", "prediction" and, if there is one, "reference" """
    grid: Grid
    channels: tuple[np.ndarray, ...]
    """float32: one of grey values, or red, green and blue"""
    prediction: np.ndarray
    reference: np.ndarray | None
    names: dict[str, int]
    """classes and their values, where the prediction's file tells them: a DICOM segmentation"""
    notes: tuple[str, ...]
    """what a reader of the page should know of the image"""


def read_case(
    image: Paths, prediction: Paths, reference: Paths | None = None, *, name: str | None = None
) -> PageCase:
    """Read the files of a case, in any format of `pgsam_monai.base.volume`.

    Label maps may store the image's voxels in another order, as long as they lie in the same places. The prediction may
    be a DICOM segmentation of the series that is the image.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a label map holds no classes, or lies on another grid than the image; ReadError, a kind of it, for
            files that can't be read.
    """
    maps = {"prediction": prediction} | ({} if reference is None else {"reference": reference})
    for role, files in {"image": image, **maps}.items():
        for path in as_paths(files):
            if not path.exists():
                raise MissingFile(f"The {role} '{path}' does not exist.")
    read = read_image(image, finite=False)
    channels, affine = read.voxels, read.affine
    shape = channels.shape[1:]
    picture = file_format(image) == "picture"
    stored = picture or file_format(image) == "archive" or choose_plane(shape, affine) == "none"
    grid = make_grid(shape, affine, anatomical=not stored)
    shown, notes = _shown_channels(channels, picture=picture)
    segments = _read_segments(image, prediction)
    turned = {role: _read_map(files, role, grid) for role, files in maps.items() if role not in segments}
    turned |= {role: np.ascontiguousarray(grid.turn(numbers)) for role, (numbers, _) in segments.items()}
    return PageCase(
        name=name or case_name(image),
        files={role: as_paths(files)[0].name for role, files in {"image": image, **maps}.items()},
        grid=grid,
        channels=tuple(grid.turn(channel) for channel in shown),
        prediction=turned["prediction"],
        reference=turned.get("reference"),
        names=segments["prediction"][1] if segments else {},
        notes=notes,
    )


def _shown_channels(channels: np.ndarray, *, picture: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Channels (1 or 3, i, j, k) that are shown, and what to say of them."""
    flat = len(channels) == 3 and channels.shape[3] == 1
    if flat and (picture or (channels.min() >= 0 and channels.max() <= 255)):
        return channels, ()
    notes = (f"The first of {len(channels)} channels is shown.",) if len(channels) > 1 else ()
    missing = int(np.count_nonzero(~np.isfinite(channels[0])))
    notes += (f"{missing} voxels without a number are shown as the lowest value.",) if missing else ()
    return channels[:1], notes


def _read_segments(image: Paths, prediction: Paths) -> dict[str, tuple[np.ndarray, dict[str, int]]]:
    """{"prediction": (numbers (i, j, k), names)} of a DICOM segmentation, {} of another file."""
    (file, *others), series = as_paths(prediction), as_paths(image)
    if others or file_suffix(file) != ".dcm" or not _is_segmentation(file):
        return {}
    from pgsam_monai.base.dicom.series import DicomError
    from pgsam_monai.dicom.seg_reading import read_segmentation

    try:
        return {"prediction": read_segmentation(file, series[0])}
    except DicomError as error:
        raise UserFault(
            f"The prediction '{file.name}' is a DICOM segmentation that '{series[0].name}' can't show: {error}."
        ) from error


def _is_segmentation(file: Path) -> bool:
    """Raises DicomError for a file that pydicom can't be given."""
    import pydicom

    from pgsam_monai.base.dicom.headers import require_sound

    require_sound(file)
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality"], force=True)
        return header.get("Modality") == "SEG"
    except Exception:  # damaged elements raise anything; whoever reads it as an image says what is wrong
        return False


def _read_map(files: Paths, role: str, grid: Grid) -> np.ndarray:
    """A label map, turned (z, y, x) and contiguous, checked to be one and to lie on the image's grid."""
    values, affine = read_label_file(files)
    who = f"The {role} '{Path(as_paths(files)[0]).name}'"
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > MAX_VALUE:
        raise UserFault(
            f"{who} is no label map: it holds values from {low} to {high}; give the file of the classes, "
            "not the image."
        )
    own = grid
    if grid.anatomical and file_format(files) == "volume":
        own = make_grid(values.shape, affine, anatomical=True)
    shapes = (own.shape, grid.shape) if own is not grid else (values.shape, grid.file_shape)
    if shapes[0] != shapes[1]:
        raise UserFault(
            f"{who} has shape {values.shape}, the image {grid.file_shape}; give the image that it belongs to."
        )
    apart = np.linalg.norm(own.corners_mm() - grid.corners_mm(), axis=1).max()
    if not apart <= GRID_TOLERANCE * min(grid.spacing):
        raise UserFault(
            f"{who} and the image lie up to {apart:.1f} mm apart; bring both onto one grid, or give the image that it "
            "belongs to."
        )
    return np.ascontiguousarray(own.turn(values))
