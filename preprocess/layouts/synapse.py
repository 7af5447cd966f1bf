"""Two layouts of the Synapse multi-organ data: raw BTCV, and TransUNet's archives."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from pgsam_monai.base.cases import ARCHIVE_SUFFIXES, IN_THE_IMAGES, VOLUME_SUFFIXES, stem_of
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.pairing import Key, found_from
from preprocess.layouts.records import Case, Found, NoMatch
from preprocess.layouts.tree import Tree, join, natural_key, natural_sorted, parent_of

BTCV_LABELS = {
    "background": 0,
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "portal and splenic veins": 10,
    "pancreas": 11,
    "right adrenal gland": 12,
    "left adrenal gland": 13,
}

_ASSUMED_NAMES = "label names are BTCV's, assumed from the layout; write a labels.json to change them"


def find_synapse(tree: Tree) -> Found:
    """img/img0001.nii.gz and label/label0001.nii.gz, also below RawData/Training.

    Case names are case0001, as in TransUNet's archives, so that published splits fit both.
    """
    bases = [parent_of(folder) for folder in tree.folders_named("img")]
    training = [base for base in bases if "testing" not in base.lower().split("/")]
    if not training:
        raise NoMatch(0.0, "no img/ folder")
    base = training[0]
    images = _numbered(tree, join(base, "img"), "img", "train")
    labels = _numbered(tree, join(base, "label"), "label", "train")
    if not images or not labels:
        raise NoMatch(
            0.5,
            f"{join(base, 'img')}/ with {len(images)} files named img0001, img0002, ... and "
            f"{join(base, 'label')}/ with {len(labels)} named label0001, label0002, ...",
        )
    if not images.keys() & labels.keys():
        raise NoMatch(0.8, "the numbers in img/ and label/ don't agree")
    for test in (base for base in bases if base not in training):
        images |= _numbered(tree, join(test, "img"), "img", "test")
    names = read_label_names(tree)
    notes = () if names else (_ASSUMED_NAMES,)
    return replace(found_from(images, labels), label_names=names or BTCV_LABELS, notes=notes)


def _numbered(tree: Tree, folder: str, prefix: str, group: str) -> dict[Key, list[str]]:
    result: dict[Key, list[str]] = defaultdict(list)
    for path in tree.paths(VOLUME_SUFFIXES, folder):
        match = re.fullmatch(rf"{prefix}(\d+)", stem_of(path), flags=re.IGNORECASE)
        if match:
            result[group, f"case{match[1]}"].append(path)
    return dict(result)


def find_transunet(tree: Tree) -> Found:
    """train_npz/case0005_slice000.npz (one slice each) and test_vol_h5/case0001.npy.h5.

    train.txt and test_vol.txt, where present, say which of them count. Images and labels share their
    files, so the label is "@images".
    """
    slices = _training_slices(tree)
    volumes = [
        path for folder in tree.folders_named("test_vol_h5") for path in tree.paths(ARCHIVE_SUFFIXES, folder)
    ]
    if not slices:
        raise NoMatch(0.7 if volumes else 0.0, "no train_npz/ with case0005_slice000.npz, ...")
    slices, train_note = _listed(tree, "train.txt", slices)
    volumes, test_note = _listed(tree, "test_vol.txt", volumes)
    if not slices:
        raise NoMatch(0.9, "train.txt lists none of the slices in train_npz/")
    by_case: dict[str, list[str]] = defaultdict(list)
    for path in natural_sorted(slices):
        by_case[stem_of(path).rpartition("_slice")[0]].append(path)
    cases = [
        Case(name=name, images=tuple(by_case[name]), label=IN_THE_IMAGES)
        for name in sorted(by_case, key=natural_key)
    ]
    cases += [
        Case(name=stem_of(path), images=(path,), label=IN_THE_IMAGES, group="test")
        for path in natural_sorted(volumes)
    ]
    return Found(cases=tuple(cases), label_names=read_label_names(tree), notes=(*train_note, *test_note))


def _training_slices(tree: Tree) -> list[str]:
    folders = [folder for folder in tree.files if folder.rpartition("/")[2].lower().startswith("train_npz")]
    paths = [path for folder in folders[:1] for path in tree.paths((".npz",), folder)]
    return [path for path in paths if re.search(r"_slice\d+$", stem_of(path))]


def _listed(tree: Tree, list_name: str, paths: list[str]) -> tuple[list[str], list[str]]:
    """Those of `paths` that the list file names, in the list's sense, and notes on differences."""
    lists = [join(folder, list_name) for folder, names in tree.files.items() if list_name in names]
    if not lists or not paths:
        return paths, []
    lines = {line.strip() for line in (tree.root / lists[0]).read_text().splitlines() if line.strip()}
    chosen = [path for path in paths if stem_of(path) in lines]
    notes = []
    if len(chosen) < len(paths):
        left_out = f"{len(chosen)} of {len(paths)} files in {parent_of(paths[0])}: others left out"
        notes.append(f"{lists[0]} names {left_out}")
    absent = sorted(lines - {stem_of(path) for path in paths})
    if absent:
        notes.append(f"{len(absent)} names in {lists[0]} have no file ({', '.join(absent[:3])})")
    return chosen, notes
