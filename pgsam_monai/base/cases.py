"""What the data code knows of a case before opening it: its files, their kind and its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
ARCHIVE_SUFFIXES = (".npy.h5", ".h5", ".hdf5", ".npz")
FILE_SUFFIXES = VOLUME_SUFFIXES + PICTURE_SUFFIXES + ARCHIVE_SUFFIXES

Paths = str | Path | Sequence[str | Path]


def as_paths(files: Paths) -> list[Path]:
    """One path or several, as a list of Path; '~' is the user's folder."""
    several = [files] if isinstance(files, str | Path) else files
    return [Path(file).expanduser() for file in several]


def file_suffix(path: str | Path) -> str:
    """The known suffix of a file, lower case ('.nii.gz', '.npy.h5', …), its own last suffix, or '' for a
    folder."""
    name = Path(path).name.lower()
    for suffix in FILE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return "" if Path(path).is_dir() else Path(path).suffix.lower()


def file_format(files: Paths) -> str:
    """'volume' (a DICOM folder counts as one), 'picture' or 'archive', by the suffix of the first file."""
    suffix = file_suffix(as_paths(files)[0])
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    return "archive" if suffix in ARCHIVE_SUFFIXES else "volume"


def case_name(files: Paths) -> str:
    """Name of a case from its image file(s): no folder, no suffix, no '_slice000' of an archive,
    no '_0000' (nnU-Net's first channel; other numbers may tell cases apart and stay).

    >>> case_name("imagesTr/hippocampus_001_0000.nii.gz")
    'hippocampus_001'
    """
    first = as_paths(files)[0]
    suffix = file_suffix(first)
    name = first.name[: len(first.name) - len(suffix)] if suffix else first.name
    if suffix in ARCHIVE_SUFFIXES:
        return re.sub(r"_slice\d+$", "", name) or name
    return name.removesuffix("_0000") or name
