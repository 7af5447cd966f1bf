"""What is known of a case before it is opened: its files, their kind and its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
ARCHIVE_SUFFIXES = (".npy.h5", ".h5", ".hdf5", ".npz")
FILE_SUFFIXES = VOLUME_SUFFIXES + DICOM_SUFFIXES + PICTURE_SUFFIXES + ARCHIVE_SUFFIXES

IN_THE_IMAGES = "@images"
"""Stands for the label's file where images and labels share theirs: archives."""

Paths = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""One file, several (channels, slices), a label's masks by their value: {"1": liver, "2": spleen}, or a label with
other values than its file has: {"file": path(s), "values": {"3": 1}}, in which what isn't listed is 0."""
FILE, VALUES = "file", "values"
"""The entries of the last one."""


def as_paths(files: Paths) -> list[Path]:
    """One path or several, as a list of Path; '~' is the user's folder."""
    if isinstance(files, Mapping):
        files = files[FILE] if VALUES in files else list(files.values())
    several = [files] if isinstance(files, str | Path) else files
    return [Path(file).expanduser() for file in several]


def suffix_among(name: str, suffixes: tuple[str, ...] = FILE_SUFFIXES) -> str:
    """The suffix of `name`, the longest that fits, in its own case; "" if none does."""
    lower = name.lower()
    fits = [suffix for suffix in suffixes if lower.endswith(suffix)]
    return name[-max(map(len, fits)) :] if fits else ""


def path_or_paths(files: Paths) -> str | list[str]:
    """One path as text, several as a list, as transforms read them."""
    paths = [str(path) for path in as_paths(files)]
    return paths[0] if len(paths) == 1 else paths


def file_suffix(path: str | Path) -> str:
    """The known suffix of a file, lower case ('.nii.gz', '.npy.h5', …), its own last suffix, or '' for a
    folder."""
    known = suffix_among(Path(path).name)
    return (known or ("" if Path(path).is_dir() else Path(path).suffix)).lower()


def file_format(files: Paths) -> str:
    """'volume' (a DICOM folder counts as one), 'picture' or 'archive', by the name of the first file."""
    name = as_paths(files)[0].name
    if suffix_among(name, PICTURE_SUFFIXES):
        return "picture"
    return "archive" if suffix_among(name, ARCHIVE_SUFFIXES) else "volume"


def stem_of(path: str | Path) -> str:
    """File name without folder and without a known suffix: a/b.nii.gz -> b."""
    name = Path(path).name
    return name[: len(name) - len(suffix_among(name))]


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
