"""Which cases train, which validate, which test.

Everything is a function of the case names, the labels they hold, the subjects they show and a seed: no state, the same
file every time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.splits import by_subject
from preprocess.layouts.records import with_values
from preprocess.splits.few_shot import FewShot, labels_of, restrict, shuffle
from preprocess.splits.records import Fold, Splits
from preprocess.splits.subjects import Subjects


def make_splits(
    cases: Sequence[Any],
    *,
    labels: Mapping[str, Sequence[int]],
    folds: int,
    seed: int,
    few_shot: str | int | None = None,
    subjects: Subjects | None = None,
) -> Splits:
    """Splits a data set's cases; no subject stands on two sides, unless the data set states its folds.

    Args:
        cases: records with `name`, `images`, `label`, `group` ("train" or "test") and `fold`.
        labels: training case -> foreground values it holds. Cases that are not named here don't train.
        folds: number of folds; as many as cases means leave-one-out.
        seed: of the shuffling.
        few_shot: "5", "10%", "slices:10%" or None.
        subjects: whom the cases show; None: each another.

    Raises:
        UserFault: the wish can't be granted.
    """
    training = [case for case in cases if case.group == "train" and case.name in labels]
    names = [case.name for case in training]
    test = [case for case in cases if case.group == "test"]
    entries = {case.name: case_entry(case, labels.get(case.name)) for case in [*training, *test]}
    whole = Splits(seed=seed, few_shot=None, cases=entries, folds=(), test=tuple(case.name for case in test))
    whole = with_subjects(whole, subjects)
    stated = {case.name: case.fold for case in training if getattr(case, "fold", None) is not None}
    if len(stated) == len(names) and len(set(stated.values())) == folds:
        validation = _stated_folds(stated)
    else:
        validation = _subject_folds(whole, names, labels=labels, folds=folds)
    made = tuple(_fold(names, held_out) for held_out in validation)
    return with_few_shot(replace(whole, folds=made), few_shot)


def with_subjects(splits: Splits, subjects: Subjects | None) -> Splits:
    """Splits whose cases say whom they show, where several of them show one."""
    if subjects is None or not subjects.groups(splits.cases):
        return splits
    cases = {name: {**entry, "subject": subjects.of[name]} for name, entry in splits.cases.items()}
    return replace(splits, cases=cases, subjects={"rule": subjects.rule, "reason": subjects.reason})


def with_few_shot(whole: Splits, few_shot: str | int | None) -> Splits:
    """The planner's few-shot wish applied: cases, by subject, are drawn here, slices where training starts.

    Raises:
        UserFault: unreadable, or more than a fold trains on.
    """
    if few_shot is None:
        return whole
    wish = FewShot.parse(few_shot)
    if wish.level == "case":
        return restrict(whole, wish, whole.seed)
    return replace(whole, few_shot=wish.to_json())


def _subject_folds(
    whole: Splits, names: Sequence[str], *, labels: Mapping[str, Sequence[int]], folds: int
) -> list[list[str]]:
    """`balanced_folds` of the subjects that `names` show, written out as cases in their order."""
    cases = by_subject(whole.cases, names)
    if not 2 <= folds <= len(cases):
        raise UserFault(
            f"{len(cases)} {whole.units} can't make {folds} folds; choose 2 to {len(cases)} (--override folds=N)."
        )
    held = {subject: labels_of(own, labels) for subject, own in cases.items()}
    place = {name: index for index, name in enumerate(names)}
    parts = balanced_folds(list(cases), labels=held, folds=folds, seed=whole.seed)
    return [
        sorted((name for subject in part for name in cases[subject]), key=place.__getitem__) for part in parts
    ]


def balanced_folds(
    names: Sequence[str], *, labels: Mapping[str, Sequence[int]], folds: int, seed: int
) -> list[list[str]]:
    """Validation lists whose sizes differ by one at most, rare labels spread over the folds first."""
    shuffled = shuffle(names, seed)
    holders = Counter(value for name in names for value in labels[name])
    rarest_first = sorted(
        shuffled, key=lambda name: min((holders[value] for value in labels[name]), default=len(names))
    )
    capacity = [len(names) // folds + (index < len(names) % folds) for index in range(folds)]
    filled: list[list[str]] = [[] for _ in range(folds)]
    held = [Counter() for _ in range(folds)]
    for name in rarest_first:
        rare = sorted(labels[name], key=lambda value: (holders[value], value))
        free = [index for index in range(folds) if len(filled[index]) < capacity[index]]
        chosen = min(
            free, key=lambda index: ([held[index][value] for value in rare], len(filled[index]), index)
        )
        filled[chosen].append(name)
        held[chosen].update(labels[name])
    place = {name: index for index, name in enumerate(names)}
    return [sorted(fold, key=place.__getitem__) for fold in filled]


def _stated_folds(stated: Mapping[str, int]) -> list[list[str]]:
    return [
        [name for name, fold in stated.items() if fold == number] for number in sorted(set(stated.values()))
    ]


def _fold(names: Sequence[str], held_out: Sequence[str]) -> Fold:
    out = set(held_out)
    return Fold(training=tuple(name for name in names if name not in out), validation=tuple(held_out))


def case_entry(case: Any, labels: Sequence[int] | None) -> dict[str, Any]:
    """A case's entry in `Splits.cases`; `labels`: the foreground values it holds, None where they weren't measured."""
    images = list(case.images)
    values = getattr(case, "values", None)
    label = case.label if values is None or case.label is None else with_values(case.label, values)
    entry = {"image": images[0] if len(images) == 1 else images, "label": label}
    entry |= {} if labels is None else {"labels": sorted(labels)}
    labelled = getattr(case, "labelled", None)
    return entry if labelled is None else entry | {"labelled": list(labelled)}
