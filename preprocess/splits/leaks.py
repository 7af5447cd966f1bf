"""Subjects that stand on two sides of a split: only splits that are stated, which are kept as they are, have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgsam_monai.base.splits import by_subject
from preprocess.checks.faults import WARNING, Fault
from preprocess.splits.records import Splits


def find_leaks(splits: Splits) -> Iterator[Fault]:
    """One fault per pair of parts that share subjects: a fold's training and validation, its training and the test."""
    sides = [
        (f"training and validation of fold {number}", fold.training, fold.validation)
        for number, fold in enumerate(splits.folds)
    ]
    # Every training case trains in some fold; where few were chosen, those that were.
    training = tuple(dict.fromkeys(name for fold in splits.folds for name in fold.training))
    for what, some, others in (*sides, ("training and test", training, splits.test)):
        if fault := _shared(splits, what, some, others):
            yield fault


def _shared(splits: Splits, what: str, some: Sequence[str], others: Sequence[str]) -> Fault | None:
    one, other = (by_subject(splits.cases, names) for names in (some, others))
    shared = [subject for subject in other if subject in one]
    if not shared:
        return None
    first = shared[0]
    example = f"{first} ({one[first][0]} and {other[first][0]})"
    return Fault(
        level=WARNING,
        rule="one subject on two sides",
        case=None,
        file=None,
        found=f"{what}: {len(shared)} of {len(other)} subjects, such as {example}",
        consequence="the split is kept as it is stated, and scores come out too good",
        remedy="state other folds, or none, or plan without --recipe; correct --subjects if they aren't one",
    )
