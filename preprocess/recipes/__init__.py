"""Published settings, one JSON file per recipe, its name the file's.

Every setting is a pair [value, reason]. `unmeasured` holds stand-ins for what a data set and a machine would
tell; they count only where a recipe is emitted without data. `inherits` names a recipe whose entries apply where
this one is silent; within a network's configuration it names a network of the recipe whose settings it shares, so
a recipe says only what is its own. What neither decides, such as the texts, is left to the planning rules.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..rules.decision import RECIPE, Decision
from ..splits import FewShot, Fold, SplitError, Splits

FOLDER = Path(__file__).parent


class RecipeError(ValueError):
    """No such recipe, or one that can't be cooked from what is given."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The published settings of one experiment."""

    name: str
    title: str
    networks: tuple[str, ...]
    dataset: Mapping[str, Any]
    """Published facts: name, folder, layout, file_format, channels; patterns of case names and files."""

    training: tuple[int, ...]
    test: tuple[int, ...]
    """Case numbers."""

    splits_note: str
    few_shot: str | None
    decisions: Mapping[str, Decision]
    unmeasured: Mapping[str, Decision]
    configurations: Mapping[str, Mapping[str, Decision]]


def recipe_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_recipe(name: str) -> Recipe:
    """Reads a recipe by name.

    Raises:
        RecipeError: unknown; names the nearest.
    """
    if name not in recipe_names():
        near = difflib.get_close_matches(str(name), recipe_names(), n=1, cutoff=0.3)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise RecipeError(
            f"--recipe {name}: there is no such recipe; known are {', '.join(recipe_names())}.{hint}"
        )
    record = _read(name)
    return Recipe(
        name=name,
        title=record["title"],
        networks=tuple(record["networks"]),
        dataset=record["dataset"],
        training=tuple(record["training"]),
        test=tuple(record["test"]),
        splits_note=record["splits_note"],
        few_shot=record["few_shot"],
        decisions=_decisions(record["decisions"]),
        unmeasured=_decisions(record["unmeasured"]),
        configurations={network: _configuration(record, network) for network in record["networks"]},
    )


def published_splits(recipe: Recipe, *, few_shot: str | None = None) -> Splits:
    """The published split over the published file names, without any data.

    Raises:
        SplitError: `few_shot` draws cases.
    """
    known = recipe.dataset
    entries = {
        known["case"].format(number=number): {
            "image": known["image"].format(number=number),
            "label": known["label"].format(number=number),
        }
        for number in sorted({*recipe.training, *recipe.test})
    }
    numbers = {number: known["case"].format(number=number) for number in {*recipe.training, *recipe.test}}
    return _splits(recipe, numbers, entries, seed=recipe.decisions["seed"].value, few_shot=few_shot)


def splits_by_recipe(recipe: Recipe, cases: Sequence[Any], *, seed: int, few_shot: str | None) -> Splits:
    """The published split over the cases of a data set, matched by the number in their names.

    Raises:
        RecipeError: a published case is missing.
        SplitError: `few_shot` draws cases.
    """
    numbers = {int(match[-1]): case for case in cases if (match := re.findall(r"\d+", case.name))}
    wanted = (*recipe.training, *recipe.test)
    missing = [number for number in wanted if number not in numbers]
    if missing:
        first = ", ".join(f"{number:04d}" for number in missing[:6]) + (", ..." if len(missing) > 6 else "")
        raise RecipeError(
            f"--recipe {recipe.name} needs the {len(wanted)} published cases by number; {len(missing)} are "
            f"missing ({first}). Plan without --recipe to use this data set's own cases."
        )
    entries = {}
    for number in sorted(wanted):
        images = list(numbers[number].images)
        entries[numbers[number].name] = {
            "image": images[0] if len(images) == 1 else images,
            "label": numbers[number].label,
        }
    names = {number: numbers[number].name for number in wanted}
    return _splits(recipe, names, entries, seed=seed, few_shot=few_shot)


def _splits(
    recipe: Recipe, names: Mapping[int, str], entries: dict, *, seed: int, few_shot: str | None
) -> Splits:
    test = tuple(names[number] for number in recipe.test)
    fold = Fold(training=tuple(names[number] for number in recipe.training), validation=test)
    wish = FewShot.parse(few_shot) if few_shot else None
    if wish and wish.level != "slice":
        raise SplitError(
            f"--few_shot {few_shot} with --recipe {recipe.name}: the papers draw slices, as in slices:10%."
        )
    return Splits(
        seed=seed,
        few_shot=wish.to_json() if wish else None,
        cases=entries,
        folds=(fold,),
        test=test,
        note=recipe.splits_note,
    )


def _read(name: str) -> dict[str, Any]:
    record = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if "inherits" not in record:
        return record
    return _merged(_read(record.pop("inherits")), record)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def _configuration(record: Mapping[str, Any], network: str) -> dict[str, Decision]:
    own = dict(record["configurations"][network])
    shared = record["configurations"][own.pop("inherits")] if "inherits" in own else {}
    return _decisions({**shared, **own})


def _decisions(entries: Mapping[str, Sequence[Any]]) -> dict[str, Decision]:
    return {
        name: Decision(value=value, reason=reason, source=RECIPE) for name, (value, reason) in entries.items()
    }
