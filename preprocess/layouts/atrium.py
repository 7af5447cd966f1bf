"""Two layouts of the 2018 Atrial Segmentation Challenge (LA): the challenge's NRRD files, and UA-MT's archives."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import PurePosixPath

from pgsam_monai.base.cases import IN_THE_IMAGES
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import folder_group, unique_names
from preprocess.layouts.pairing import Key, found_from
from preprocess.layouts.records import Case, Found, NoMatch
from preprocess.layouts.tree import Tree, join, natural_key, parent_of

IMAGE_FILE, LABEL_FILE, ARCHIVE_FILE = "lgemri.nrrd", "laendo.nrrd", "mri_norm2.h5"
CHANNEL = "LGE-MRI"
CHALLENGE_LABELS = {"background": 0, "left atrium": 255}
ARCHIVE_LABELS = {"background": 0, "left atrium": 1}
_ASSUMED_NAMES = "label names are LA's, assumed from the layout; write a labels.json to change them"


def find_atrium(tree: Tree) -> Found:
    """Training Set/<case>/lgemri.nrrd and laendo.nrrd (0 and 255); also Testing Set/, with or without labels.

    The cases' other files, such as lawall.nrrd, are left out.
    """
    images, labels = _by_case(tree, IMAGE_FILE), _by_case(tree, LABEL_FILE)
    if not images:
        raise NoMatch(0.7 if labels else 0.0, f"no folder with {IMAGE_FILE}")
    if not images.keys() & labels.keys():
        some = next(iter(images.values()))[0]
        raise NoMatch(0.8, f"{some} but no {LABEL_FILE} beside it, nor in another of the {len(images)} cases")
    return replace(found_from(images, labels), **_names(tree, CHALLENGE_LABELS))


def find_atrium_archives(tree: Tree) -> Found:
    """2018LA_Seg_Training Set/<case>/mri_norm2.h5, image and label in one file; stored slice last.

    train.list and test.list, in the data set or just above it, say which cases train and which test; without
    them all train.
    """
    paths = [path for found in _by_case(tree, ARCHIVE_FILE).values() for path in found]
    if not paths:
        raise NoMatch(0.0, f"no folder with {ARCHIVE_FILE}")
    names = dict(zip(unique_names([parent_of(path) or "case" for path in paths]), paths, strict=True))
    training, test = _list(tree, "train.list"), _list(tree, "test.list")
    if training is not None and not training & names.keys():
        raise NoMatch(0.9, f"train.list names none of the {len(names)} folders with {ARCHIVE_FILE}")
    groups = {name: _group(name, training, test) for name in sorted(names, key=natural_key)}
    cases = [
        Case(name=name, images=(names[name],), label=IN_THE_IMAGES, group=group)
        for name, group in groups.items()
        if group
    ]
    cases.sort(key=lambda case: case.group == "test")
    notes = _list_notes(groups, {"train.list": training, "test.list": test})
    found = _names(tree, ARCHIVE_LABELS)
    return Found(cases=tuple(cases), **found | {"notes": (*found["notes"], *notes)})


def _by_case(tree: Tree, file: str) -> dict[Key, list[str]]:
    """(group, case's folder) -> its `file`, whose name may be written in capitals."""
    result: dict[Key, list[str]] = defaultdict(list)
    for folder, names in tree.files.items():
        for name in names:
            if name.lower() == file:
                path = join(folder, name)
                result[folder_group(path)[0], folder or PurePosixPath(tree.root).name].append(path)
    return dict(result)


def _names(tree: Tree, assumed: dict[str, int]) -> dict:
    own = read_label_names(tree)
    return {
        "label_names": own or assumed,
        "channel_names": (CHANNEL,),
        "notes": () if own else (_ASSUMED_NAMES,),
    }


def _list(tree: Tree, name: str) -> set[str] | None:
    """The case names in a list file of the data set or of the folder above it, where UA-MT keeps them."""
    inside = [tree.root / join(folder, name) for folder, names in tree.files.items() if name in names]
    for file in (*inside, tree.root.parent / name):
        if file.is_file():
            return {line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()}
    return None


def _group(name: str, training: set[str] | None, test: set[str] | None) -> str | None:
    """ "train", "test", or None where lists leave the case out."""
    if test and name in test:
        return "test"
    return "train" if training is None or name in training else None


def _list_notes(groups: dict[str, str | None], lists: dict[str, set[str] | None]) -> list[str]:
    left_out = [name for name, group in groups.items() if group is None]
    notes = []
    if left_out:
        notes.append(f"{len(left_out)} cases stand in no list: left out ({', '.join(left_out[:3])})")
    for file, names in lists.items():
        absent = sorted((names or set()) - groups.keys())
        if absent:
            notes.append(f"{len(absent)} names in {file} have no file ({', '.join(absent[:3])})")
    return notes
