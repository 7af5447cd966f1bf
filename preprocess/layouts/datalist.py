"""A MONAI datalist: a JSON with lists "training", "validation", "testing" of {"image", "label", "fold", "subject",
"labelled_structures"}."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from preprocess.layouts.labelnames import channel_names_from, label_names_from, read_json
from preprocess.layouts.listed import Entry, found_from_entries, parse_entries
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import Tree

_PARTS: tuple[tuple[str, str, int | None], ...] = (
    ("training", "train", None),
    ("validation", "train", 0),
    ("testing", "test", None),
    ("test", "test", None),
)
"""(key, group, fold): what the list validates on is validated by fold 0"""


def find_datalist(tree: Tree, listing: str | None = None) -> Found:
    """The datalist `listing`, or the only one in the top folder. Raises NoMatch when there are several."""
    if listing is None:
        listing = _only(_candidates(tree))
    content = read_json(tree, listing)
    if not isinstance(content, dict) or "training" not in content:
        raise NoMatch(0.4, f'{listing} has no "training" list')
    names = label_names_from(content.get("labels"), listing)
    found = found_from_entries(tree, listing, _entries(tree, listing, content), names)
    return replace(
        found,
        label_names=names,
        channel_names=channel_names_from(content),
    )


def _candidates(tree: Tree) -> list[str]:
    """JSON files of the top folder that hold a training list."""
    result = []
    for path in tree.paths((".json",), ""):
        content = read_json(tree, path)
        if isinstance(content, dict) and isinstance(content.get("training"), list):
            result.append(path)
    return result


def _only(candidates: Iterable[str]) -> str:
    found = list(candidates)
    if not found:
        raise NoMatch(0.0, 'no JSON with a "training" list')
    if len(found) > 1:
        raise NoMatch(0.9, f"several datalists: {', '.join(found)}; pass the path of one of them")
    return found[0]


def _entries(tree: Tree, listing: str, content: dict[str, Any]) -> list[Entry]:
    entries: list[Entry] = []
    for key, group, fold in _PARTS:
        if content.get(key):
            entries += parse_entries(tree, listing, key, content[key], group=group, fold=fold)
    return entries
