"""Names of labels and channels that a data set carries in dataset.json or labels.json."""

from __future__ import annotations

from typing import Any, NoReturn

from pgsam_monai.base import json_files
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import background_of, is_ignore
from preprocess.layouts.records import CERTAIN, NoMatch
from preprocess.layouts.tree import Tree

NAME_FILES = ("dataset.json", "labels.json")
SHAPES = {"dataset.json": dict}


def read_json(tree: Tree, path: str) -> Any:
    """The content of a JSON file of the data set. Raises NoMatch when it is none, CERTAIN if it should have names."""
    file = path.rpartition("/")[2]
    try:
        return json_files.read_json(
            tree.root / path, remedy="correct it, or take it away", shape=SHAPES.get(file)
        )
    except (UserFault, OSError) as error:
        nearness = CERTAIN if file in NAME_FILES else 0.5
        raise NoMatch(nearness, f"{path} is no readable JSON: {str(error).rstrip('.')}") from error


def read_label_names(tree: Tree) -> dict[str, int] | None:
    """Label names of dataset.json ("labels" in it) or labels.json (the mapping itself), either way round."""
    for name in NAME_FILES:
        if tree.has(name):
            content = read_json(tree, name)
            own = content if name == "labels.json" else None
            return label_names_from(content.get("labels", own) if isinstance(content, dict) else own, name)
    return None


def label_names_from(labels: Any, file: str) -> dict[str, int] | None:
    """{"1": "spleen"}, {"spleen": 1} or ["background", "spleen"] of `file` -> {"spleen": 1}, by value.

    nnU-Net's "ignore", of voxels that nobody labelled, is among them. Raises NoMatch, CERTAIN, for names that are none,
    for regions (`regions` reads those), and for several names of what is ignored.
    """
    if labels is None:
        return None
    if isinstance(labels, list):
        labels = dict(enumerate(labels))
    if not isinstance(labels, dict):
        refuse(file, f'"labels" must be an object of names and values, got {str(labels)[:80]}')
    names: dict[str, int] = {}
    for key, value in labels.items():
        name, number = _name_and_value(key, value, file)
        if name in names or number in names.values():
            refuse(file, f"label '{name}' = {number} stands there beside another of its name or value")
        names[name] = number
    ignored = [name for name in names if is_ignore(name)]
    if len(ignored) > 1 or background_of(names) in [names[name] for name in ignored]:
        refuse(
            file,
            f"{' and '.join(map(repr, ignored))}: one value, not the background's, may mark what nobody labelled",
        )
    return dict(sorted(names.items(), key=lambda item: item[1])) or None


def _name_and_value(key: Any, value: Any, file: str) -> tuple[str, int]:
    if isinstance(value, list | tuple):
        refuse(
            file,
            f"label '{key}' is a region, {str(value)[:80]}, which only nnU-Net's layout has; give each value of the"
            " label maps a name of its own",
        )
    number = isinstance(value, int) and not isinstance(value, bool)
    if str(key).isdecimal() and isinstance(value, str):
        key, value = value, key
    elif not number and not (isinstance(value, str) and value.isdecimal()):
        refuse(file, f"label '{key}' must have a whole number as value, got {str(value)[:80]}")
    if not 0 <= int(value) < 2**31:
        refuse(file, f"label '{key}' must have a value from 0 to 2^31-1, got {value}")
    return str(key), int(value)


def refuse(file: str, reason: str) -> NoReturn:
    """Ends the search for a layout: the file at fault should have said it."""
    raise NoMatch(CERTAIN, f"{file}: {reason}")


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
