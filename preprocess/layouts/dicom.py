"""One folder per DICOM series, with label volumes beside, inside or in a folder of their own."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import PurePosixPath

from pgsam_monai.base.cases import DICOM_SUFFIXES, VOLUME_SUFFIXES, stem_of, suffix_among
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import (
    IMAGE_WORDS,
    LABEL_WORDS,
    folder_group,
    folder_role,
    has_word,
    strip_words,
)
from preprocess.layouts.pairing import Key, found_from, neutral_folder
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import Tree, join, parent_of

_SNIFFED_FILES = 3
"""files without a telling name that are opened, per folder, to look for DICOM's mark"""
_OTHER_SUFFIX = re.compile(r"\.[A-Za-z]{2,5}$")
"""what tells that a file is something else; numbers, as in IM1.2.3, do not"""


def find_dicom(tree: Tree) -> Found:
    """Each folder with DICOM files is one image. Without any labels the images are found all the same.

    A case's label is the volume in its folder, or the one named like it (labels/study1.nii.gz), or a DICOM
    folder of that name below a folder such as labels/.
    """
    series = [folder for folder in tree.files if _holds_dicom(tree, folder)]
    if not series:
        raise NoMatch(0.0, "no folder with DICOM files")
    label_series = [folder for folder in series if folder_role(folder) == "label"]
    images = [folder for folder in series if folder not in label_series]
    if not images:
        raise NoMatch(0.5, f"{len(label_series)} DICOM folders below labels/, but no images")
    case_folders = {folder: _case_folder(folder, images) for folder in images}
    image_keys = {_key(case_folders[folder] + "/x", ""): [folder or "."] for folder in images}
    if len(image_keys) < len(images):
        image_keys = {_key(folder + "/x", ""): [folder or "."] for folder in images}
    labels = _labels(tree, {case: folder for folder, case in case_folders.items()})
    for folder in label_series:
        labels[_key(folder + "/x", "")].append(folder)
    return _found(tree, image_keys, labels)


def _found(tree: Tree, images: dict[Key, list[str]], labels: dict[Key, list[str]]) -> Found:
    for paths in labels.values():
        if len(paths) > 1:
            raise NoMatch(0.9, f"several labels for one DICOM series: {', '.join(paths)}; leave one")
    if labels and not images.keys() & labels.keys():
        image, label = next(iter(images.values()))[0], next(iter(labels.values()))[0]
        raise NoMatch(0.8, f"DICOM series and labels, but no names agree (for example {image}/ and {label})")
    named = {(group, name or tree.root.name): paths for (group, name), paths in images.items()}
    renamed = {(group, name or tree.root.name): paths for (group, name), paths in labels.items()}
    found = found_from(named, renamed)
    return Found(
        cases=found.cases,
        images_without_label=found.images_without_label,
        labels_without_image=found.labels_without_image,
        label_names=read_label_names(tree),
    )


def _holds_dicom(tree: Tree, folder: str) -> bool:
    names = tree.files[folder]
    if any(suffix_among(name, DICOM_SUFFIXES) for name in names):
        return True
    bare = [name for name in names if name != "DICOMDIR" and not _OTHER_SUFFIX.search(name)]
    from pgsam_monai.base.dicom.headers import is_dicom_file  # only now: it brings numpy

    return any(is_dicom_file(tree.root / folder / name) for name in bare[:_SNIFFED_FILES])


def _case_folder(series: str, all_series: list[str]) -> str:
    """The highest folder above `series` that holds no other series and isn't a mere images/ folder."""
    case = series
    while parent := parent_of(case):
        crowded = any(other != series and f"{other}/".startswith(f"{parent}/") for other in all_series)
        name = PurePosixPath(parent).name
        if crowded or folder_role(name) or folder_group(f"{name}/x") != ("train", None):
            break
        case = parent
    return case


def _labels(tree: Tree, series_of: dict[str, str]) -> dict[Key, list[str]]:
    """Label volumes by case: all below a case's folder are its own, others go by name."""
    labels: dict[Key, list[str]] = defaultdict(list)
    for path in tree.paths(VOLUME_SUFFIXES):
        above = [str(folder) for folder in PurePosixPath(path).parents]
        own = next((folder for folder in above if folder in series_of), None)
        if own is None:
            labels[_key(path, strip_words(stem_of(path), IMAGE_WORDS + LABEL_WORDS))].append(path)
        else:
            labels[_key(own + "/x", "")].append(path)
    return {key: _telling(paths) for key, paths in labels.items()} | defaultdict(list)


def _telling(paths: list[str]) -> list[str]:
    """If several volumes lie in a case, those named as labels."""
    named = [path for path in paths if has_word(stem_of(path), LABEL_WORDS)]
    return named if len(paths) > 1 and named else paths


def _key(path: str, stem: str) -> Key:
    return folder_group(path)[0], join(neutral_folder(parent_of(path)), stem).strip("/")
