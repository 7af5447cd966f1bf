"""Names of labels and channels that a data set carries in dataset.json or labels.json."""

from __future__ import annotations

import json
from typing import Any

from preprocess.layouts.records import NoMatch
from preprocess.layouts.tree import Tree

NAME_FILES = ("dataset.json", "labels.json")


def read_json(tree: Tree, path: str) -> Any:
    """The content of a JSON file of the data set. Raises NoMatch when it is no JSON."""
    try:
        return json.loads((tree.root / path).read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise NoMatch(0.5, f"{path} is no readable JSON: {error}") from error


def read_label_names(tree: Tree) -> dict[str, int] | None:
    """Label names of dataset.json ("labels" in it) or labels.json (the mapping itself), either way round."""
    for name in NAME_FILES:
        if tree.has(name):
            content = read_json(tree, name)
            if isinstance(content, dict):
                return label_names_from(content.get("labels", content if name == "labels.json" else None))
    return None


def label_names_from(labels: Any) -> dict[str, int] | None:
    """{"1": "spleen"} or {"spleen": 1} -> {"spleen": 1}, by value. Regions (lists of values) are left out."""
    if isinstance(labels, list):
        labels = dict(enumerate(labels))
    if not isinstance(labels, dict):
        return None
    names: dict[str, int] = {}
    for key, value in labels.items():
        if str(key).isdecimal() and isinstance(value, str):
            names[value] = int(key)
        elif isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            names[str(key)] = int(value)
    return dict(sorted(names.items(), key=lambda item: item[1])) or None


def channel_names_from(content: dict[str, Any]) -> tuple[str, ...] | None:
    """ "channel_names" (nnU-Net 2) or "modality" (Decathlon): {"0": "CT"} -> ("CT",)."""
    channels = content.get("channel_names") or content.get("modality")
    if isinstance(channels, str):
        return (channels,)
    if isinstance(channels, list):
        return tuple(map(str, channels))
    if not isinstance(channels, dict) or not channels:
        return None
    return tuple(str(channels[key]) for key in sorted(channels, key=lambda key: (len(str(key)), str(key))))
