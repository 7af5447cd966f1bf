"""What a user gives to predict: a file, a folder of files, a DICOM series or a folder of series."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.cases import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from pgsam_monai.base.dicom.headers import is_dicom_file
from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.files import visible

IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, ".dcm", *PICTURE_SUFFIXES)
BESIDE = ("", ".html", ".json", ".csv")
"""What lies beside predictions and may have their names: folders, pages, the summary."""
CHANNEL_FILE = re.compile(r"_(\d{4})$")


def list_inputs(source: str | Path, *, channels: int = 1) -> list[dict]:
    """Cases of a file or folder, in natural order: [{"name", "image": path or one path per channel}].

    A folder of DICOM files is one case; so is each sub-folder of DICOM files. For several channels, files that
    differ only by nnU-Net's `_0000` endings make one case, see `require_channels`. What is hidden is no image.

    Raises:
        MissingFile: nothing there, or no image in it.
        UserFault: results of two cases would have one name.
    """
    source = Path(source)
    if not source.exists():
        raise MissingFile(f"Input '{source}' does not exist; give an image file, a folder or a DICOM series.")
    if not source.is_dir() or is_dicom_series(source):
        return [{"name": stem(source), "image": str(source)}]
    inside = visible(source)
    files = [path for path in inside if not path.is_dir() and path.name.lower().endswith(IMAGE_SUFFIXES)]
    series = [folder for folder in inside if is_dicom_series(folder)]
    if not files and not series:
        raise MissingFile(
            f"Folder '{source}' holds neither images ({', '.join(IMAGE_SUFFIXES)}) nor DICOM series."
        )
    folders = [{"name": folder.name, "image": str(folder)} for folder in series]
    return _check_names(_group_channels(files, channels) + folders)


def is_dicom_series(folder: Path) -> bool:
    """True when the folder's first image carries DICOM's magic word."""
    if not folder.is_dir():
        return False
    for path in (path for path in visible(folder) if path.is_file()):
        if is_dicom_file(path):
            return True
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            return False
    return False


def stem(path: Path) -> str:
    """File name without its image suffix, `.nii.gz` counting as one."""
    return path.name[: len(path.name) - len(file_suffix(path))] if path.suffix else path.name


def require_channels(case: Mapping[str, Any], channels: int) -> None:
    """Raise UserFault unless a case of several files has one per channel."""
    files = case["image"]
    if isinstance(files, list) and len(files) != channels:
        name = case["name"]
        raise UserFault(
            f"Case '{name}': the bundle takes {channels} channels, got {len(files)} file{'s' * (len(files) > 1)}; "
            f"give {name}_0000 … {name}_{channels - 1:04d}."
        )


def prediction_file(folder: str | Path, name: str) -> Path:
    """The file that holds a case's prediction, whatever its format.

    Raises:
        MissingFile: there is none.
    """
    beside = visible(folder) if Path(folder).is_dir() else []
    found = [path for path in beside if stem(path) == name and path.suffix not in BESIDE]
    if not found:
        raise MissingFile(f"No prediction of case '{name}' in '{folder}'.")
    return found[0]


def _group_channels(files: Sequence[Path], channels: int) -> list[dict]:
    if channels == 1 or not all(CHANNEL_FILE.search(stem(path)) for path in files):
        return [{"name": stem(path), "image": str(path)} for path in files]
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(CHANNEL_FILE.sub("", stem(path)), []).append(str(path))
    return [{"name": name, "image": paths} for name, paths in groups.items()]


def _check_names(cases: list[dict]) -> list[dict]:
    """Names that some disks take for one are one: those that differ in the case of letters, or in how ü is coded."""
    named: dict[str, Any] = {}
    for case in cases:
        name = unicodedata.normalize("NFC", case["name"]).casefold()
        if name in named:
            raise UserFault(
                f"{case['image']} and {named[name]} would both be written as '{case['name']}'; rename one, or predict "
                "one at a time."
            )
        named[name] = case["image"]
    return cases
