"""Reads the image or the label of a case in any format: as stored, for planning, or as networks take it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import (
    ARCHIVE_SUFFIXES,
    DICOM_SUFFIXES,
    FILE,
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    PICTURE_SUFFIXES,
    VALUES,
    Paths,
    as_paths,
    file_format,
    suffix_among,
)
from pgsam_monai.base.dicom.headers import is_dicom_file
from pgsam_monai.base.volume.admission import admit
from pgsam_monai.base.volume.archives import read_archive_geometry, read_archives
from pgsam_monai.base.volume.dicom import read_series, read_series_geometry
from pgsam_monai.base.volume.finite import check_finite
from pgsam_monai.base.volume.headed import read_headed, read_headed_geometry
from pgsam_monai.base.volume.limits import require_bytes
from pgsam_monai.base.volume.merging import merge_layers, merge_masks
from pgsam_monai.base.volume.nifti import read_nifti, read_nifti_geometry
from pgsam_monai.base.volume.pictures import read_mask, read_picture, read_picture_geometry
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume, require_one_grid

INTEGER_TOLERANCE = 1e-3
"""how far a value of a label may lie off a whole number"""


def read_volume(paths: Paths) -> Volume:
    """Read one image: a file per channel, one multi-channel file, a DICOM folder, or a case's archive slices.

    Voxels are (channels, i, j, k) in the stored type. Raises ReadError naming the file, also when the
    channels of a case don't share one grid.
    """
    files = as_paths(paths)
    if not files:
        raise ReadError("(no file)", "a volume needs at least one file")
    if file_format(files) == "archive":
        return _read_archives(files, "image")
    volumes: list[Volume] = []
    for file in files:
        volumes.append(_read_one(file))
        require_bytes(file, sum(volume.voxels.nbytes for volume in volumes))
    return volumes[0] if len(volumes) == 1 else _joined(volumes, files)


def read_label(paths: Paths) -> Volume:
    """Read one label: a file, a DICOM folder, the archives that hold the image too, {value: mask}, or one of these with
    other values (`base.cases.Paths`). One channel.

    Voxels are of the stored type; masks, and one-hot channels, are merged to one map of classes. Palette masks give
    their indices; colours give red<<16 | green<<8 | blue. Raises ReadError when there is no label, or it can't be read
    or merged.
    """
    if isinstance(paths, Mapping) and VALUES in paths:
        return _with_values(read_label(paths[FILE]), paths[VALUES])
    if isinstance(paths, Mapping):
        masks = ((int(value), as_paths(file)[0], read_label(file)) for value, file in paths.items())
        return merge_masks(masks)
    files = as_paths(paths)
    if not files:
        raise ReadError("(no file)", "the case has no label")
    if file_format(files) == "archive":
        return _read_archives(files, "label")
    if file_format(files) == "picture" and len(files) == 1:
        with _named(files[0]):
            admit(files[0])
            return read_mask(files[0])
    label = read_volume(files)
    return label if len(label.voxels) == 1 else merge_layers(label, files[0])


def _with_values(label: Volume, values: Mapping[str, int]) -> Volume:
    """The label with other values, int32, as {value in the file: value} says; 0 where that doesn't list the file's.

    What is no map of classes, of fractions or negative values, stays as it is, for whoever reads it to refuse.
    """
    voxels = label.voxels
    if voxels.dtype.kind == "f":
        whole = np.rint(voxels)
        if not np.abs(voxels - whole).max(initial=0.0) <= INTEGER_TOLERANCE:
            return label
        voxels = whole.astype(np.int64, order="K")
    if voxels.min(initial=0) < 0:
        return label
    known, new = np.asarray(sorted((int(own), other) for own, other in values.items()) or [(0, 0)]).T
    places = np.searchsorted(known, voxels).clip(max=len(known) - 1)
    return replace(label, voxels=np.where(known[places] == voxels, new[places], 0).astype(np.int32))


def read_image(paths: Paths, *, finite: bool = True) -> Volume:
    """`read_volume` in float32, as networks take images.

    Raises ReadError; with `finite` also for values that are NaN or infinite, which a network would spread.
    """
    return as_networks_take(read_volume(paths), paths, finite=finite)


def as_networks_take(image: Volume, paths: Paths, *, finite: bool = True) -> Volume:
    """The same in float32. Raises as `read_image`."""
    with np.errstate(over="ignore"):  # of float64 values, which become infinite: told below
        voxels = image.voxels.astype(np.float32, copy=False)
    if finite and image.voxels.dtype.kind == "f":
        check_finite(voxels, as_paths(paths))
    return replace(image, voxels=voxels)


def read_classes(paths: Paths) -> Volume:
    """`read_label` in int32, as networks take labels. Raises ReadError when its values are no whole numbers."""
    label = read_label(paths)
    voxels = label.voxels
    if voxels.dtype.kind == "f":
        rounded = np.rint(voxels)
        worst = float(np.abs(voxels - rounded).max(initial=0.0))
        if not worst <= INTEGER_TOLERANCE:
            raise ReadError(
                as_paths(paths)[0],
                f"label values must be integers, got values up to {worst:.3g} off; was it interpolated?",
            )
        voxels = rounded
    return replace(label, voxels=voxels.astype(np.int32, copy=False))


def read_label_file(files: Paths) -> tuple[np.ndarray, np.ndarray]:
    """Label map (i, j, k) int32 and affine (4, 4) voxel -> mm, RAS+; identity for pictures and archives.

    Raises ReadError for unreadable files and values that are no integers.
    """
    label = read_classes(files)
    return label.voxels[0], label.affine


def notes_of(paths: Paths) -> list[str]:
    """What reading an image decides about oddities of its headers, each with its file's name. Raises ReadError."""
    return [f"{file.name}: {note}" for file in as_paths(paths) for note in read_geometry(file).notes]


def read_geometry(path: str | Path) -> Geometry:
    """Shape, channels, affine and type of one file or DICOM folder, without voxels. Raises ReadError."""
    file = Path(path).expanduser()
    with _named(file):
        if suffix_among(file.name, ARCHIVE_SUFFIXES):
            admit(file)
            return read_archive_geometry(file)
        return _READERS[_admitted(file)][1](file)


_READERS = {
    "nifti": (read_nifti, read_nifti_geometry),
    "headed": (read_headed, read_headed_geometry),
    "picture": (read_picture, read_picture_geometry),
    "dicom": (read_series, read_series_geometry),
}
"""format -> how one file is read, and how its header"""


def _admitted(file: Path) -> str:
    """A key of _READERS, by the file's name; where that tells nothing, DICOM's mark is looked for.

    Raises ReadError for what is no regular file, too large, or of no known format.
    """
    kind = next((kind for kind, suffixes in _SUFFIXES.items() if suffix_among(file.name, suffixes)), None)
    if kind in (None, "dicom") and file.is_dir():
        return "dicom"
    admit(file)
    if kind is None and not is_dicom_file(file):
        raise ReadError(
            file, f"no format that is read here by its name; these are {', '.join(READ_SUFFIXES)}"
        )
    return kind or "dicom"


_SUFFIXES = {
    "nifti": NIFTI_SUFFIXES,
    "headed": ITK_SUFFIXES,
    "picture": PICTURE_SUFFIXES,
    "dicom": DICOM_SUFFIXES,
}
READ_SUFFIXES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)


def _read_one(file: Path) -> Volume:
    with _named(file):
        volume = _READERS[_admitted(file)][0](file)
    return _checked(volume, file)


def _read_archives(files: list[Path], key: str) -> Volume:
    with _named(files[0]):
        for file in files:
            admit(file)
        volume = read_archives(files, key)
    return _checked(volume, files[0])


def _checked(volume: Volume, file: Path) -> Volume:
    if volume.voxels.dtype.kind not in "biuf":
        raise ReadError(
            file, f"values of type {volume.voxels.dtype} are no scalars; convert the file to grey values"
        )
    return volume


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Damaged files make third-party readers raise anything: a ReadError says which file it was."""
    try:
        yield
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(file, f"can't be read ({type(error).__name__}: {error})") from error


def _joined(volumes: list[Volume], files: list[Path]) -> Volume:
    """Channels of one grid in one array, each contiguous in its file's order."""
    first = volumes[0]
    for volume, file in zip(volumes[1:], files[1:], strict=True):
        require_one_grid(first, volume, file, files[0])
    shape = first.voxels.shape[1:]
    channels = sum(len(volume.voxels) for volume in volumes)
    dtype = np.result_type(*(volume.voxels.dtype for volume in volumes))
    voxels = np.empty((channels, *shape[::-1]), dtype).transpose(0, 3, 2, 1)
    at = 0
    for volume in volumes:
        voxels[at : at + len(volume.voxels)] = volume.voxels
        at += len(volume.voxels)
    notes = tuple(
        f"{file.name}: {note}" for volume, file in zip(volumes, files, strict=True) for note in volume.notes
    )
    return replace(first, voxels=voxels, notes=notes)
