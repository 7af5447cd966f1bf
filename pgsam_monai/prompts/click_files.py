"""Files of clicks and boxes, for `pgsam predict --clicks file.json`.

    {"space": "voxel",
     "labels": {"liver": {"positive": [[120, 88, 40]], "negative": [[60, 90, 40]],
                          "boxes": [[70, 160, 50, 140, 40, 40]]}}}

"space" says what the numbers are: "voxel" (the default): voxels (i, j, k) of the original file, floats
allowed, a box [i0, i1, j0, j1, k0, k1] with both ends included; "RAS" or "LPS": mm, a box's ends its faces.
Accepted too are what MONAI Label's clients send, {"foreground": [...], "background": [...], "roi": [...]} or
lists by class name, and 3D Slicer's own .mrk.json (`slicer_markups`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortly
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.prompts.click_names import class_named, numbers, refuse_others
from pgsam_monai.prompts.slicer_markups import read_markups

SPACES = ("voxel", "RAS", "LPS")
KINDS = ("positive", "negative", "boxes")
Place = tuple[float, float, float]
Region = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class ClassClicks:
    """What a user said about one class."""

    positive: tuple[Place, ...] = ()
    """here it is"""
    negative: tuple[Place, ...] = ()
    """here it isn't"""
    boxes: tuple[Region, ...] = ()
    """first and last end per axis, in either order"""

    def __bool__(self) -> bool:
        return bool(self.positive or self.negative or self.boxes)


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """What a user said about one image."""

    labels: Mapping[str, ClassClicks]
    """class name -> its clicks"""
    space: str = "voxel"
    """what the numbers are: "voxel", or mm in "RAS" or "LPS" """


def read_clicks(source: str | Path | Mapping[str, Any], *, names: Sequence[str] | None = None) -> Clicks:
    """The clicks of a file, or of what such a file holds.

    Args:
        source: path of a JSON file, or its content.
        names: the model's foreground classes, to which names are matched, capitals aside. None: any name
            will do.
    Raises:
        UserFault: no such file, no such shape, a class that isn't there, a point that isn't three
            numbers, or no clicks at all.
    """
    where, data = _load(source)
    if "markups" in data:
        stem = "" if isinstance(source, Mapping) else Path(source).name.split(".")[0]
        marks = read_markups(data, where=where, stem=stem, names=names)
        points = {name: ClassClicks(positive=yes, negative=no) for name, (yes, no) in marks.items()}
        clicks = Clicks(labels=points, space="RAS")
    elif "labels" in data:
        clicks = _from_labels(data, where, names)
    else:
        clicks = _from_lists(data, where, names)
    if not any(clicks.labels.values()):
        raise UserFault(
            f'{where} has no clicks; add a class under "labels" with "positive" points or "boxes".'
        )
    return clicks


def write_clicks(file: str | Path, clicks: Clicks) -> None:
    """Write clicks as JSON, whole or not at all; the file's folder is made."""
    labels = {
        name: {kind: [list(each) for each in getattr(said, kind)] for kind in KINDS if getattr(said, kind)}
        for name, said in clicks.labels.items()
    }
    content = json.dumps({"space": clicks.space, "labels": labels}, ensure_ascii=False, indent=2)
    write_text(file, content + "\n")


def _load(source: str | Path | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """What to call the source, and its content."""
    if isinstance(source, Mapping):
        return "Clicks", source
    where = f"Clicks file '{source}'"
    try:
        data = json.loads(Path(source).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserFault(f"{where} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UserFault(f"{where} is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise UserFault(f'{where} must hold a JSON object with "labels", got {type(data).__name__}.')
    return where, data


def _from_labels(data: Mapping[str, Any], where: str, names: Sequence[str] | None) -> Clicks:
    """The project's own shape."""
    refuse_others(data, ("labels", "space"), where)
    labels = {}
    if not isinstance(data["labels"], Mapping):
        raise UserFault(
            f'{where}: "labels" must be an object, class name to clicks, got {shortly(data["labels"])}.'
        )
    for given, said in data["labels"].items():
        if not isinstance(said, Mapping):
            raise UserFault(
                f"{where}, '{given}': must be an object with {', '.join(KINDS)}, got {shortly(said)}."
            )
        refuse_others(said, KINDS, f"{where}, '{given}'")
        name = class_named(given, names, where)
        if name in labels:
            raise UserFault(f"{where}: class '{name}' stands twice; join its clicks.")
        labels[name] = ClassClicks(
            **{
                kind: numbers(said.get(kind, []), 6 if kind == "boxes" else 3, f"{where}, '{name}', {kind}")
                for kind in KINDS
            }
        )
    return Clicks(labels=labels, space=_space(data, where))


def _from_lists(data: Mapping[str, Any], where: str, names: Sequence[str] | None) -> Clicks:
    """MONAI Label's shapes: "foreground" and "background", or lists by class; "background" is negative for
    every class named. "label" says which class "foreground" and "roi" mean; one class alone needs none."""
    keys = {"background", "roi", "label", "space"} | ({"foreground"} - set(names or ()))
    positive = {
        class_named(given, names, where): numbers(places, 3, f"{where}, '{given}'")
        for given, places in data.items()
        if given not in keys
    }
    own = numbers(data.get("foreground", []) if "foreground" in keys else [], 3, f"{where}, 'foreground'")
    negative = numbers(data.get("background", []), 3, f"{where}, 'background'")
    boxes = numbers([data["roi"]] if data.get("roi") else [], 6, f"{where}, 'roi'")
    meant = None
    if own or boxes or not positive:
        meant = _meant_class(data.get("label"), list(positive), where, names)
        positive[meant] = positive.get(meant, ()) + own
    labels = {
        name: ClassClicks(positive=places, negative=negative, boxes=boxes if name == meant else ())
        for name, places in positive.items()
    }
    return Clicks(labels=labels, space=_space(data, where))


def _meant_class(label: Any, named: Sequence[str], where: str, names: Sequence[str] | None) -> str:
    """Which class "foreground" and "roi" are about."""
    if label is not None:
        return class_named(label, names, where)
    only = named if len(named) == 1 else names if names is not None else ["foreground"]
    if len(only) != 1:
        raise UserFault(
            f'{where}: "foreground" and "roi" may mean any of {", ".join(only)}; say which with "label".'
        )
    return only[0]


def _space(data: Mapping[str, Any], where: str) -> str:
    space = data.get("space", "voxel")
    if space not in SPACES:
        raise UserFault(f'{where}: "space" must be one of {", ".join(SPACES)}, got {shortly(space)}.')
    return space
