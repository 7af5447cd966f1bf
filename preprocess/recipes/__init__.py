"""Published settings, one JSON file per recipe, its name the file's.

Cases are numbers, names, or ranges of names such as "g0001..g0040"; a pattern of files may differ by a name's first
letter. Where the published lists are not at hand, `draw` says in their place how many cases train, validate and test:
the seed draws them from those of a data set that hold a structure of the recipe. `slices` names a list of single
training slices in lists/ (`slice_lists`). Every setting is a pair
[value, reason]. `unmeasured` holds stand-ins for what a data set and a machine would tell; they count only where a
recipe is emitted without data. `inherits` names a recipe whose entries apply where this one is silent, and null takes
an inherited setting back; within a network's configuration it names a network of the recipe whose settings it shares,
so a recipe says only what is its own. `departures` says per
network, and by the same rules, where a recipe leaves its source: {what: [theirs, ours, why]}; a recipe is titled "as
published" where it has none, else "adapted". What neither decides, such as the texts, is left to the planning rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.labels import values_of
from preprocess.recipes.slice_lists import SliceList, read_slice_list, with_listed_slices
from preprocess.rules.decision import RECIPE, Decision
from preprocess.splits.few_shot import shuffle
from preprocess.splits.records import Fold, Splits
from preprocess.splits.splits import case_entry, with_few_shot, with_subjects
from preprocess.splits.subjects import Subjects

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


def published_splits(recipe: Recipe, *, few_shot: str | None = None) -> Splits:
    """The published split over the published file names, without any data; a list of slices stands where no `few_shot`
    is asked for.

    Raises:
        UserFault: the recipe draws its cases, so there is no split without data; or `few_shot` asks for more cases
            than train.
    """
    if recipe.draw:
        raise UserFault(
            f"--recipe {recipe.name} draws its {recipe.draw.total} cases, as no published lists are at hand, so it "
            f"needs the data: pgsam-plan {recipe.dataset['folder']} --recipe {recipe.name}, with your copy's folder."
        )
    names, entries = {}, {}
    for case in sorted({*recipe.training, *recipe.validation, *recipe.test}):
        names[case], image, label = (_filled(recipe.dataset[key], case) for key in ("case", "image", "label"))
        entries[names[case]] = {"image": image, "label": label}
    splits = _splits(recipe, names, entries, seed=recipe.decisions["seed"].value, few_shot=few_shot)
    return with_listed_slices(splits, recipe.slices) if recipe.slices and few_shot is None else splits


def splits_by_recipe(
    recipe: Recipe,
    cases: Sequence[Any],
    *,
    seed: int,
    few_shot: str | None,
    labels: Mapping[str, Sequence[int]] | None = None,
    subjects: Subjects | None = None,
) -> Splits:
    """The published split over the labelled cases of a data set, matched by name or by the last number in it, or drawn.

    `labels`: case -> foreground values it holds, where they were measured. `subjects`: whom the cases show; None: each
    another. What is drawn keeps them together, what is published is left as it is.

    Raises:
        UserFault: a published case is missing, there are fewer cases than are to be drawn, or `few_shot` asks for
            more than train.
    """
    if recipe.draw:
        return with_few_shot(_drawn(recipe, recipe.draw, cases, labels, seed, subjects), few_shot)
    wanted = sorted({*recipe.training, *recipe.validation, *recipe.test})
    by_number = all(isinstance(case, int) for case in wanted)
    known = _by_number(cases) if by_number else {case.name: case for case in cases if case.label}
    missing = [case for case in wanted if case not in known]
    if missing:
        told = [f"{case:04d}" if by_number else case for case in missing]
        first = ", ".join(told[:6]) + (", ..." if len(told) > 6 else "")
        raise UserFault(
            f"--recipe {recipe.name} needs the {len(wanted)} published cases by {'number' if by_number else 'name'}; "
            f"{len(missing)} are missing ({first}) or lack their label. Plan without --recipe to use this data "
            "set's own cases."
        )
    entries = {}
    for case in wanted:
        entries[known[case].name] = case_entry(known[case], (labels or {}).get(known[case].name))
    names = {case: known[case].name for case in wanted}
    return _splits(recipe, names, entries, seed=seed, few_shot=few_shot, subjects=subjects)


def _drawn(
    recipe: Recipe,
    draw: Draw,
    cases: Sequence[Any],
    labels: Mapping[str, Sequence[int]] | None,
    seed: int,
    subjects: Subjects | None,
) -> Splits:
    """A split of the stated sizes: a function of the names of the cases that hold what the recipe is about.

    A part may be larger where its last subject has several cases.
    """
    wanted = {value for entry in recipe.decisions["labels"].value[1:] for value in values_of(entry)}
    held = {case.name: case for case in cases if case.group == "train" and case.label}
    if labels is not None:
        held = {name: case for name, case in held.items() if wanted & set(labels.get(name, ()))}
    parts = _dealt(sorted(held), draw, subjects, seed)
    if parts is None:
        structures = " or ".join(recipe.decisions["label_names"].value[1:])
        together = ", too few as no subject is to be parted" if len(held) >= draw.total else ""
        raise UserFault(
            f"--recipe {recipe.name} draws {draw.training} training, {draw.validation} validation and {draw.test} test "
            f"cases that hold {structures}; this data set has {len(held)} of the {draw.total}{together}. Plan "
            "without --recipe to use what there is."
        )
    place = {name: number for number, name in enumerate(held)}
    training, validation, test = (tuple(sorted(part, key=place.__getitem__)) for part in parts)
    entries = {
        name: case_entry(held[name], (labels or {}).get(name))
        for name in sorted((*training, *validation, *test), key=place.__getitem__)
    }
    fold = Fold(training=training, validation=validation)
    whole = Splits(seed=seed, few_shot=None, cases=entries, folds=(fold,), test=test, note=recipe.splits_note)
    return with_subjects(whole, subjects)


def _dealt(names: Sequence[str], draw: Draw, subjects: Subjects | None, seed: int) -> list[list[str]] | None:
    """Training, validation and test cases, subject by subject; None where there are too few."""
    cases: dict[str, list[str]] = {}
    for name in names:
        cases.setdefault(subjects.of[name] if subjects else name, []).append(name)
    order, parts = iter(shuffle(list(cases), seed)), []
    for size in (draw.training, draw.validation, draw.test):
        part: list[str] = []
        while len(part) < size:
            subject = next(order, None)
            if subject is None:
                return None
            part += cases[subject]
        parts.append(part)
    return parts


def _by_number(cases: Sequence[Any]) -> dict[int, Any]:
    """Labelled cases by the last number in their names; a training case before a test case of the same number."""
    found: dict[int, Any] = {}
    for case in sorted(cases, key=lambda case: case.group == "test"):
        numbers = re.findall(r"\d+", case.name)
        if numbers and case.label:
            found.setdefault(int(numbers[-1]), case)
    return found


def _cases(listed: Sequence[int | str]) -> tuple[int | str, ...]:
    """Numbers and names, ranges of names written out."""
    return tuple(case for entry in listed for case in _range(entry))


def _range(entry: int | str) -> list[int | str]:
    ends = re.fullmatch(r"(\D+)(\d+)\.\.\1(\d+)", entry) if isinstance(entry, str) else None
    if ends is None:
        return [entry]
    return [f"{ends[1]}{number:0{len(ends[2])}d}" for number in range(int(ends[2]), int(ends[3]) + 1)]


def _filled(pattern: str | Mapping[str, str], case: int | str) -> str:
    """A pattern of case names or files, {number} or {name} in it replaced; a mapping holds one per first letter."""
    if isinstance(pattern, Mapping):
        pattern = pattern[case[0]]
    return pattern.format(number=case) if isinstance(case, int) else pattern.format(name=case)


def _splits(
    recipe: Recipe,
    names: Mapping[int | str, str],
    entries: dict,
    *,
    seed: int,
    few_shot: str | None,
    subjects: Subjects | None = None,
) -> Splits:
    test = tuple(names[case] for case in recipe.test)
    training, validation = (
        tuple(names[case] for case in part) for part in (recipe.training, recipe.validation)
    )
    fold = Fold(training=training, validation=validation)
    whole = Splits(seed=seed, few_shot=None, cases=entries, folds=(fold,), test=test, note=recipe.splits_note)
    return with_few_shot(with_subjects(whole, subjects), few_shot)


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
