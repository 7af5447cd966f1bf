"""The layout of PROMISE12, the challenge of prostate MR: MetaImages of header and raw data."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import folder_group
from preprocess.layouts.pairing import Key, found_from
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import VOLUME_ENDINGS, Tree, stem_of

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
    for path in tree.paths(VOLUME_ENDINGS):
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
