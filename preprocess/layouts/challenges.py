"""Challenges whose file names alone tell image, label and case: ACDC, KiTS, LiTS, MM-WHS and PROMISE12."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pgsam_monai.base.cases import VOLUME_SUFFIXES, stem_of
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import folder_group, words
from preprocess.layouts.pairing import Key, found_from
from preprocess.layouts.records import CERTAIN, Found, NoMatch
from preprocess.layouts.tree import Tree, join, parent_of


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """How a challenge names its files; the patterns are of paths without ending, `case` in them is the case's name."""

    title: str
    image: str
    label: str
    example: str
    label_names: Mapping[str, int]
    labelled: str = "{}"
    """what `case` of a label is called as a case"""
    left_out: str = "(?!)"
    """of the paths of volumes that are known to be neither, and not worth a word"""


_RENAMING = "write a labels.json to change them"
ACDC = Challenge(
    title="ACDC",
    image=r"(?:.*/)?(?P<case>patient\d+_frame\d+)",
    label=r"(?:.*/)?(?P<case>patient\d+_frame\d+)_gt",
    example="patient001/patient001_frame01.nii.gz and patient001_frame01_gt.nii.gz",
    label_names={"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3},
    left_out=r"(?:.*/)?patient\d+_4d",
)
KITS = Challenge(
    title="KiTS",
    image=r"(?:.*/)?(?P<case>case_\d{5})/imaging",
    # The votes of KiTS21's annotators; its predecessor and successor have one file.
    label=r"(?:.*/)?(?P<case>case_\d{5})/(?:aggregated_MAJ_seg|segmentation)",
    example="case_00000/imaging.nii.gz and aggregated_MAJ_seg.nii.gz",
    label_names={"background": 0, "kidney": 1, "kidney tumor": 2, "kidney cyst": 3},
)
LITS = Challenge(
    title="LiTS",
    image=r"(?:.*/)?(?P<case>(?:test-)?volume-\d+)",
    label=r"(?:.*/)?segmentation-(?P<case>\d+)",
    example="volume-0.nii and segmentation-0.nii",
    label_names={"background": 0, "liver": 1, "liver tumor": 2},
    labelled="volume-{}",
)
MMWHS = Challenge(
    title="MM-WHS",
    image=r"(?:.*/)?(?P<case>(?:ct|mr)_(?:train|test)_\d{4})_image",
    label=r"(?:.*/)?(?P<case>(?:ct|mr)_(?:train|test)_\d{4})_label",
    example="ct_train_1001_image.nii.gz and ct_train_1001_label.nii.gz",
    label_names={
        "background": 0, "left ventricular myocardium": 205, "left atrium blood cavity": 420,
        "left ventricle blood cavity": 500, "right atrium blood cavity": 550, "right ventricle blood cavity": 600,
        "ascending aorta": 820, "pulmonary artery": 850,
    },
)  # fmt: skip


def find_acdc(tree: Tree) -> Found:
    """patient001/patient001_frame01.nii.gz and patient001_frame01_gt.nii.gz, also in training/ and testing/.

    The film patient001_4d.nii.gz is left out, and so is Info.cfg.
    """
    found = _find(tree, ACDC)
    cases = tuple(replace(case, subject=case.name.partition("_")[0]) for case in found.cases)
    return replace(found, cases=cases, channel_names=("cine MR",))


def find_kits(tree: Tree) -> Found:
    """case_00000/imaging.nii.gz with aggregated_MAJ_seg.nii.gz (KiTS21) or segmentation.nii.gz (KiTS19, KiTS23)."""
    return replace(_find(tree, KITS), channel_names=("CT",))


def find_lits(tree: Tree) -> Found:
    """volume-0.nii and segmentation-0.nii, in one folder or in several; test-volume-0.nii has no label."""
    return replace(_find(tree, LITS), channel_names=("CT",))


def find_mmwhs(tree: Tree) -> Found:
    """ct_train_1001_image.nii.gz and ct_train_1001_label.nii.gz, or mr_train_…; ct_test_… has no label."""
    found = _find(tree, MMWHS)
    scanners = sorted({case.name[:2] for case in found.cases})
    if len(scanners) > 1:
        raise NoMatch(
            CERTAIN, "CT and MR scans of MM-WHS, which are two data sets; pass ct_train or mr_train"
        )
    return replace(found, channel_names=(scanners[0].upper(),) if scanners else None)


def _find(tree: Tree, challenge: Challenge) -> Found:
    images: dict[Key, list[str]] = defaultdict(list)
    labels: dict[Key, list[str]] = defaultdict(list)
    others = []
    for path in tree.paths(VOLUME_SUFFIXES):
        bare = join(parent_of(path), stem_of(path))
        if match := re.fullmatch(challenge.image, bare):
            images[_group(path), match["case"]].append(path)
        elif match := re.fullmatch(challenge.label, bare):
            labels[_group(path), challenge.labelled.format(match["case"])].append(path)
        elif not re.fullmatch(challenge.left_out, bare):
            others.append(path)
    _require(challenge, images, labels)
    names = read_label_names(tree)
    notes = [] if names else [f"label names are {challenge.title}'s, assumed from the layout; {_RENAMING}"]
    if others:
        notes.append(f"{len(others)} volumes that are neither image nor label are left out ({others[0]})")
    return replace(
        found_from(dict(images), dict(labels)),
        label_names=names or dict(challenge.label_names),
        notes=tuple(notes),
    )


def _group(path: str) -> str:
    """ "test" where a folder or the file's own name says so."""
    return "test" if "test" in words(stem_of(path)) else folder_group(path)[0]


def _require(challenge: Challenge, images: dict[Key, list[str]], labels: dict[Key, list[str]]) -> None:
    """NoMatch where files are named otherwise, lack their labels, or share a case's name."""
    if not images or not images.keys() & labels.keys():
        what = f"{len(images)} images and {len(labels)} labels" if images or labels else "nothing"
        raise NoMatch(0.8 if images and labels else 0.0, f"{what} like {challenge.example}")
    twice = next((paths for paths in (*images.values(), *labels.values()) if len(paths) > 1), None)
    if twice:
        raise NoMatch(0.9, f"the files {' and '.join(twice[:2])} claim the same case; remove or rename one")


PROMISE12_LABELS = {"background": 0, "prostate": 1}
CHANNEL = "T2-weighted MR"
_ASSUMED_NAMES = "label names are PROMISE12's, assumed from the layout; write a labels.json to change them"


def find_promise12(tree: Tree) -> Found:
    """Case00.mhd and Case00_segmentation.mhd, in one folder or in TrainingData_Part1 to 3; TestData/ has no labels.

    Test cases bear the training cases' numbers: they are called test_Case00.
    """
    images: dict[Key, list[str]] = defaultdict(list)
    labels: dict[Key, list[str]] = defaultdict(list)
    others = []
    for path in tree.paths(VOLUME_SUFFIXES):
        match = re.fullmatch(r"(Case\d+)(_segmentation)?", stem_of(path), flags=re.IGNORECASE)
        if match is None or not path.lower().endswith((".mhd", ".mha")):
            others.append(path)
            continue
        group = folder_group(path)[0]
        name = f"test_{match[1]}" if group == "test" else match[1]
        (labels if match[2] else images)[group, name].append(path)
    _require_promise12(images, labels, others)
    names = read_label_names(tree)
    return replace(
        found_from(dict(images), dict(labels)),
        label_names=names or PROMISE12_LABELS,
        channel_names=(CHANNEL,),
        notes=() if names else (_ASSUMED_NAMES,),
    )


def _require_promise12(images: dict, labels: dict, others: list[str]) -> None:
    """NoMatch where files are named otherwise, lack their labels, or share a case's name."""
    if not images:
        raise NoMatch(0.7 if labels else 0.0, "no Case00.mhd, Case01.mhd, ...")
    if not images.keys() & labels.keys():
        raise NoMatch(
            0.8, f"{len(images)} files such as Case00.mhd, but none with its Case00_segmentation.mhd"
        )
    if others:
        raise NoMatch(0.8, f"Case00.mhd and the like, but also other volumes such as {others[0]}")
    twice = next((paths for paths in (*images.values(), *labels.values()) if len(paths) > 1), None)
    if twice:
        raise NoMatch(0.9, f"the files {' and '.join(twice[:2])} claim the same case; remove or rename one")
