"""Published settings, one JSON file per recipe, its name the file's.

Cases are numbers, names, or ranges of names such as "g0001..g0040"; a pattern of files may differ by a name's first
letter. Where the published lists are not at hand, `draw` says in their place how many cases train, validate and test:
the seed draws them from those of a data set that hold a structure of the recipe. `slices` names a list of single
training slices in lists/ (`slice_lists`). Every setting is a pair [value, reason]. `unmeasured` holds stand-ins for
what a data set and a machine would tell; they count only where a recipe is emitted without data. `inherits` names a
recipe whose entries apply where this one is silent, and null takes an inherited setting back; within a network's
configuration it names a network of the recipe whose settings it shares, so a recipe says only what is its own.
`departures` says per network, by the same rules, where a recipe leaves its source: {what: [theirs, ours, why]}; it is
titled "as published" where it has none, else "adapted". What neither decides, such as the texts, is left to the
planning rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault, did_you_mean
from preprocess.recipes.slice_lists import SliceList, read_slice_list
from preprocess.rules.decision import RECIPE, Decision

FOLDER = Path(__file__).parent
PREPARED_IN_ARCHIVES = ("labels", "label_names", "intensity", "slice_axis", "orientation")
"""Whoever made archives of the published files has settled these already: there the planning rules look at the data."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How many cases to draw for each part."""

    training: int
    validation: int
    test: int

    @property
    def total(self) -> int:
        return self.training + self.validation + self.test


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Where a recipe does something else than paper or released code."""

    what: str
    theirs: str
    ours: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The published settings of one experiment."""

    name: str
    title: str
    networks: tuple[str, ...]
    dataset: Mapping[str, Any]
    """published facts: name, folder, layout, file_format, channels; patterns of case names and files"""

    training: tuple[int | str, ...]
    test: tuple[int | str, ...]
    """numbers or names of cases"""

    validation: tuple[int | str, ...]
    """published cases to validate on; the test cases, for information, where none were held out"""

    draw: Draw | None
    """in place of these lists"""

    splits_note: str
    few_shot: str | None
    slices: SliceList | None
    """those that train, of the training cases; a few-shot wish stands in for it"""

    decisions: Mapping[str, Decision]
    unmeasured: Mapping[str, Decision]
    configurations: Mapping[str, Mapping[str, Decision]]
    departures: tuple[Departure, ...]
    inherits: str | None
    """the recipe whose entries apply where this one is silent"""

    def published(self, file_format: str | None) -> dict[str, Decision]:
        """The shared decisions for a data set of these files; None stands for no data set."""
        if file_format is None:
            return {**self.decisions, **self.unmeasured}
        left = PREPARED_IN_ARCHIVES if file_format == "archive" else ()
        return {name: decision for name, decision in self.decisions.items() if name not in left}


def recipe_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_recipe(name: str) -> Recipe:
    """Reads a recipe by name.

    Raises:
        UserFault: unknown; names the nearest.
    """
    if name not in recipe_names():
        hint = did_you_mean(name, recipe_names(), cutoff=0.3)
        raise UserFault(
            f"--recipe {name}: there is no such recipe; known are {', '.join(recipe_names())}.{hint}"
        )
    record = _read(name)
    return Recipe(
        name=name,
        title=record["title"],
        networks=tuple(record["networks"]),
        dataset=record["dataset"],
        training=_cases(record["training"]),
        test=_cases(record["test"]),
        validation=_cases(record.get("validation", record["test"])),
        draw=Draw(**record["draw"]) if "draw" in record else None,
        splits_note=record["splits_note"],
        few_shot=record["few_shot"],
        slices=read_slice_list(record["slices"]) if record.get("slices") else None,
        decisions=_decisions(record["decisions"]),
        unmeasured=_decisions(record["unmeasured"]),
        configurations={
            network: _decisions(_own(record, "configurations", network)) for network in record["networks"]
        },
        departures=_departures(record),
        inherits=record["inherits"],
    )


def _cases(listed: Sequence[int | str]) -> tuple[int | str, ...]:
    """Numbers and names, ranges of names written out."""
    return tuple(case for entry in listed for case in _range(entry))


def _range(entry: int | str) -> list[int | str]:
    ends = re.fullmatch(r"(\D+)(\d+)\.\.\1(\d+)", entry) if isinstance(entry, str) else None
    if ends is None:
        return [entry]
    return [f"{ends[1]}{number:0{len(ends[2])}d}" for number in range(int(ends[2]), int(ends[3]) + 1)]


def _read(name: str) -> dict[str, Any]:
    record = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if "inherits" not in record:
        return record | {"inherits": None}
    return _merged(_read(record["inherits"]), record)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def _own(record: Mapping[str, Any], key: str, network: str) -> dict[str, Any]:
    """A network's entries of `key`, over those of the network that it inherits from."""
    own = dict(record.get(key, {}).get(network, {}))
    shared = record[key][own.pop("inherits")] if "inherits" in own else {}
    return {**shared, **own}


def _departures(record: Mapping[str, Any]) -> tuple[Departure, ...]:
    entries: dict[str, Any] = {}
    for network in record["networks"]:
        entries |= _own(record, "departures", network)
    return tuple(
        Departure(what=what, theirs=said[0], ours=said[1], why=said[2])
        for what, said in entries.items()
        if said
    )


def _decisions(entries: Mapping[str, Sequence[Any]]) -> dict[str, Decision]:
    return {
        name: Decision(value=pair[0], reason=pair[1], source=RECIPE)
        for name, pair in entries.items()
        if pair is not None
    }
