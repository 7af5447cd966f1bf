"""nnU-Net's layout: imagesTr/case_0000.nii.gz (a file per channel), labelsTr/case.nii.gz, dataset.json."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

from pgsam_monai.base.cases import DICOM_SUFFIXES, PICTURE_SUFFIXES, VOLUME_SUFFIXES, stem_of
from preprocess.layouts.labelnames import channel_names_from, read_json
from preprocess.layouts.listed import found_from_entries, parse_entries
from preprocess.layouts.pairing import Key, found_from
from preprocess.layouts.records import CERTAIN, Found, NoMatch
from preprocess.layouts.regions import names_and_regions
from preprocess.layouts.tree import Tree, join, parent_of

_CHANNEL = re.compile(r"^(.+)_(\d{4})$")


def find_nnunet(tree: Tree) -> Found:
    """Channels are grouped by the name before _0000; a case that lacks a channel keeps those it has."""
    listing = "dataset.json" if tree.has("dataset.json") else None
    content = read_json(tree, listing) if listing else {}
    if isinstance(content, dict) and isinstance(content.get("dataset"), dict):
        names, _ = names_and_regions(content.get("labels"), "dataset.json")
        return _named(_from_listing(tree, "dataset.json", content["dataset"], names), content)
    base = training_base(tree)
    if base and tree.has(join(base, "dataset.json")):
        content = read_json(tree, join(base, "dataset.json"))
    content = content if isinstance(content, dict) else {}
    endings = (str(content["file_ending"]).lower(),) if "file_ending" in content else ()
    endings = endings or VOLUME_SUFFIXES + PICTURE_SUFFIXES
    found = _from_folders(tree, base, endings)
    notes = () if content else ("no dataset.json: names of labels and channels are unknown",)
    return _named(replace(found, notes=found.notes + notes), content)


def training_base(tree: Tree) -> str:
    """The folder that holds imagesTr. Raises NoMatch when none does, or several do."""
    holders = [parent_of(folder) for folder in tree.folders_named("imagesTr")]
    if not holders:
        raise NoMatch(0.1 if tree.has("dataset.json") else 0.0, "no imagesTr/")
    if holders[0] and len(holders) > 1:
        raise NoMatch(CERTAIN, f"several data sets: {', '.join(holders[:5])}; pass one of these folders")
    if holders[0]:
        _require_only(tree, holders[0])
    return holders[0]


def _require_only(tree: Tree, base: str) -> None:
    """The user named a folder above the data set: that is fine while no other images lie there."""
    for path in tree.paths(VOLUME_SUFFIXES + PICTURE_SUFFIXES + DICOM_SUFFIXES):
        if not path.startswith(base + "/"):
            raise NoMatch(
                CERTAIN, f"a data set in {base}/, but also other images such as {path}; pass one folder"
            )


def _from_folders(tree: Tree, base: str, endings: tuple[str, ...]) -> Found:
    images: dict[Key, list[str]] = defaultdict(list)
    labels: dict[Key, list[str]] = {}
    full_stems, strays = set(), []
    for part, group in (("Tr", "train"), ("Ts", "test")):
        for path in tree.paths(endings, join(base, f"images{part}")):
            match = _CHANNEL.match(stem_of(path))
            full_stems.add(stem_of(path))
            if match:
                images[group, match[1]].append(path)
            else:
                strays.append(path)
        for path in tree.paths(endings, join(base, f"labels{part}")):
            labels[group, stem_of(path)] = path
    _require_channels(images, labels, full_stems, strays)
    found = found_from(images, {key: [path] for key, path in labels.items()})
    if strays:
        note = f"{len(strays)} images without a channel suffix such as _0000: left out ({strays[0]})"
        found = replace(found, notes=(*found.notes, note))
    return found


def _require_channels(images: dict, labels: dict, full_stems: set[str], strays: list[str]) -> None:
    """NoMatch unless the labels are named like the images without their channel suffix."""
    train_labels = [name for group, name in labels if group == "train"]
    if not images:
        raise NoMatch(0.3, f"imagesTr/ with {len(strays)} files, none with a channel suffix such as _0000")
    if not train_labels:
        raise NoMatch(0.7, "imagesTr/ has files with channel suffixes, but labelsTr/ is missing or empty")
    matched = sum(("train", name) in images for name in train_labels)
    if matched <= sum(name in full_stems for name in train_labels):
        raise NoMatch(
            0.5, f"labelsTr/{train_labels[0]} isn't named like an image without its channel suffix _0000"
        )


def _from_listing(
    tree: Tree, listing: str, cases: dict[str, Any], label_names: dict[str, int] | None
) -> Found:
    """nnU-Net 2's explicit lists: {"dataset": {case: {"images": [...], "label": ...}}}."""
    raw = [{**item, "name": name} for name, item in cases.items() if isinstance(item, dict)]
    entries = parse_entries(tree, listing, "dataset", raw, group="train")
    return found_from_entries(tree, listing, entries, label_names)


def _named(found: Found, content: dict[str, Any]) -> Found:
    names, regions = names_and_regions(content.get("labels"), "dataset.json")
    return replace(found, label_names=names, regions=regions, channel_names=channel_names_from(content))
