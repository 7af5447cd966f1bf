"""nnU-Net's regions: structures that lie in one another, each a list of the label files' values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgsam_monai.base.labels import foreground_of
from preprocess.layouts.labelnames import label_names_from, refuse

Regions = dict[str, tuple[int, ...]]


def names_and_regions(labels: Any, file: str) -> tuple[dict[str, int] | None, Regions | None]:
    """The names of single values as of `label_names_from`, and the regions, where some label of `file` is a list.

    {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3} has the regions that it says. Trained are the
    values, each a class by itself: 1 is "whole without core", 2 "core without enhancing", 3 "enhancing".
    nnU-Net's order of writing regions over one another (regions_class_order) isn't needed for that.

    Raises NoMatch, CERTAIN, for lists that are none of distinct values, regions that hold the background or what nobody
    labelled, and two regions of the same values.
    """
    if not isinstance(labels, dict) or not any(isinstance(value, list | tuple) for value in labels.values()):
        return label_names_from(labels, file), None
    single = {name: value for name, value in labels.items() if not isinstance(value, list | tuple)}
    plain = label_names_from(single, file) or {}
    foreground = foreground_of(plain)
    regions: Regions = {
        str(name): _checked(str(name), value, file)
        if isinstance(value, list | tuple)
        else (foreground[name],)
        for name, value in labels.items()
        if isinstance(value, list | tuple) or name in foreground
    }
    outside = {name: value for name, value in plain.items() if name not in foreground}
    _require_apart(regions, {"background": 0} | outside, file)
    names = {
        _name_of(value, regions): value for value in sorted({v for own in regions.values() for v in own})
    }
    return dict(sorted((outside | names).items(), key=lambda item: item[1])), regions


def _checked(name: str, values: Sequence[Any], file: str) -> tuple[int, ...]:
    whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    if not values or len(whole) < len(values) or len(set(whole)) < len(whole) or not 0 <= min(whole) < 2**31:
        refuse(
            file,
            f"region '{name}' must list different whole numbers from 0 to 2^31-1, got {str(values)[:80]}",
        )
    return tuple(sorted(whole))


def _require_apart(regions: Regions, outside: Mapping[str, int], file: str) -> None:
    by_values: dict[tuple[int, ...], str] = {}
    for name, values in regions.items():
        for other, value in outside.items():
            if value in values:
                refuse(file, f"region '{name}' holds the value {value} of '{other}'; take it out of the list")
        if (same := by_values.setdefault(values, name)) != name:
            refuse(file, f"regions '{same}' and '{name}' have the same values {list(values)}; keep one")


def _name_of(value: int, regions: Regions) -> str:
    """By the smallest region that holds it: its name, less what else lies in it."""
    holding = [name for name, values in regions.items() if value in values]
    smallest = min(holding, key=lambda name: len(regions[name]))
    own = set(regions[smallest])
    inner = {name: set(values) for name, values in regions.items() if set(values) < own}
    outermost = [
        name for name, values in inner.items() if not any(values < other for other in inner.values())
    ]
    if own - set().union(*inner.values()) != {value}:
        return f"{smallest} (value {value})"
    return f"{smallest} without {' and '.join(outermost)}" if inner else smallest


def region_fault(regions: Mapping[str, Sequence[int]], labels: Sequence[Sequence[int]]) -> str | None:
    """A sentence where predictions of these classes, the values of each, can't tell a region from what is around it."""
    for name, values in regions.items():
        for entry in labels:
            inside = set(entry) & set(values)
            if inside and inside != set(entry):
                return (
                    f"labels: the class of values {list(entry)} lies partly in region '{name}' {list(values)}, so a "
                    "prediction couldn't tell where that is; keep their values apart."
                )
    return None
