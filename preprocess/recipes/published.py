"""The published split of a recipe, over published file names or the cases of a copy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import values_of
from preprocess.recipes.recipe import Draw, Recipe
from preprocess.recipes.slice_lists import with_listed_slices
from preprocess.splits.few_shot import shuffle
from preprocess.splits.records import Fold, Splits
from preprocess.splits.splits import case_entry, with_few_shot, with_subjects
from preprocess.splits.subjects import Subjects


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
