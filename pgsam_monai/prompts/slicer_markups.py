"""3D Slicer's point lists (.mrk.json): control points in mm, LPS or RAS as the file says.

A point belongs to the class that its label names, with or without the number that Slicer adds ("liver",
"liver-2"); else to the class that the file's name names ("liver.mrk.json" with points "F-1", "F-2"). Points
labelled "background" are negative for every class of the file, and a point whose description is "negative"
is so for its own class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from reprlib import repr as shortly
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.prompts.click_names import class_named, find_class, numbers

BACKGROUND = "background"
_NUMBER = re.compile(r"[-_ ]?\d+$")

Points = tuple[tuple[float, ...], ...]


def read_markups(
    data: Mapping[str, Any], *, where: str, stem: str, names: Sequence[str] | None
) -> dict[str, tuple[Points, Points]]:
    """Class name -> its positive and its negative points, mm, RAS+.

    Args:
        data: content of the file.
        where: what to call it in errors.
        stem: its name without suffixes.
        names: the model's foreground classes; None: any name will do.
    Raises:
        UserFault: markups other than point lists, points without three numbers, units other than mm, or a
            point that belongs to no class.
    """
    points: dict[str, tuple[list, list]] = {}
    against_all = []
    for markup in _objects(data["markups"], f"{where}, 'markups'"):
        for n, point in enumerate(_placed_points(markup, where), start=1):
            (place,) = numbers([point.get("position")], 3, f"{where}, control point {n}")
            place = (
                place if markup.get("coordinateSystem", "LPS") == "RAS" else (-place[0], -place[1], place[2])
            )
            label = str(point.get("label", ""))
            if _NUMBER.sub("", label).casefold() == BACKGROUND:
                against_all.append(place)
                continue
            both = points.setdefault(_class_of(label, stem, names, where), ([], []))
            both[str(point.get("description", "")).strip().casefold() == "negative"].append(place)
    if against_all and not points:
        points[class_named(stem, names, where)] = ([], [])
    return {name: (tuple(yes), (*no, *against_all)) for name, (yes, no) in points.items()}


def _placed_points(markup: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    """Control points of a list; those that Slicer's user hasn't placed yet have no position."""
    kind = markup.get("type")
    if kind != "Fiducial":
        raise UserFault(
            f"{where}: markups must be point lists (type Fiducial), got {shortly(kind)}; place points in Slicer, or"
            " give boxes in a file of the project's own shape."
        )
    system = markup.get("coordinateSystem", "LPS")
    if system not in ("LPS", "RAS"):
        raise UserFault(f"{where}: coordinateSystem must be LPS or RAS, got {shortly(system)}.")
    units = markup.get("coordinateUnits", "mm")
    if "mm" not in (units if isinstance(units, list) else [units]):
        raise UserFault(f"{where}: coordinateUnits must be mm, got {shortly(units)}.")
    points = _objects(markup.get("controlPoints") or [], f"{where}, 'controlPoints'")
    return [point for point in points if point.get("positionStatus", "defined") == "defined"]


def _objects(values: Any, where: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, Mapping) for value in values):
        raise UserFault(f"{where}: must be a list of objects, got {shortly(values)}; save the markups again.")
    return values


def _class_of(label: str, stem: str, names: Sequence[str] | None, where: str) -> str:
    plain = _NUMBER.sub("", label)
    if names is None:
        return plain or class_named(stem, None, where)
    for candidate in (label, plain, stem, _NUMBER.sub("", stem)):
        found = find_class(candidate, names)
        if found is not None:
            return found
    return class_named(plain or stem, names, f"{where}, control point '{label}'")
