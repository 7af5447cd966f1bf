"""Faults of the label values of all cases together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pgsam_monai.base.labels import foreground_of
from preprocess.checks.faults import FATAL, MENDED, WARNING, Fault
from preprocess.fingerprint.facts import CaseFacts
from preprocess.layouts.records import Dataset

MOST_COVERED = 0.75
"""No structure covers such a share of the images; an inverted mask's background does."""


def check_labels(dataset: Dataset, training: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Values that are absent, unnamed, rare, or not 0..K."""
    held = Counter(value for case in training for value in case.labels)
    background = dataset.background
    named = {value: name for name, value in foreground_of(dataset.label_names).items()}
    if training and not held:
        yield _fault(
            FATAL,
            "empty label",
            f"the labels of all {len(training)} usable training cases are empty",
            "there is nothing to learn",
            "check that the label files are the segmentations",
        )
        return
    looked_for = {value: sum(case.looked_for(value) for case in training) for value in {*held, *named}}
    yield from _check_background(training, named)
    yield from _check_names(held, named, looked_for)
    yield from _check_rare(held, named, looked_for)
    yield from _check_gaps(sorted(named or held), background)


def _check_background(training: Sequence[CaseFacts], named: dict[int, str]) -> Iterator[Fault]:
    total = sum(case.label_voxels for case in training)
    covered = Counter()
    for case in training:
        covered.update({value: facts.voxels for value, facts in case.labels.items()})
    for value, voxels in covered.items():
        if voxels > MOST_COVERED * total:
            yield _fault(
                WARNING,
                "background in doubt",
                f"{_called(value, named)} covers {voxels / total:.0%} of all label voxels",
                "it is learnt as a structure",
                f'if it is the background, say so in the label names (labels.json: {{"background": {value}, ...}})',
            )


def _check_names(held: Counter, named: dict[int, str], looked_for: dict[int, int]) -> Iterator[Fault]:
    if not named:
        return
    unnamed = sorted(set(held) - set(named))
    if unnamed:
        values = ", ".join(f"{value} (in {_of(held[value], looked_for[value])})" for value in unnamed[:10])
        yield _fault(
            WARNING,
            "label values without a name",
            f"without a name: {values}" + (f", +{len(unnamed) - 10} more" if len(unnamed) > 10 else ""),
            "they become background",
            "add them to the data set's label names, if they are structures to learn",
        )
    for value in sorted(set(named) - set(held)):
        yield _fault(
            WARNING,
            "named structure missing",
            f"'{named[value]}' (value {value}) occurs in none of {looked_for[value]} training cases",
            "the network cannot learn it, and it has no score",
            "remove the name, or add cases that hold it",
        )


def _check_rare(held: Counter, named: dict[int, str], looked_for: dict[int, int]) -> Iterator[Fault]:
    for value, cases in sorted(held.items()):
        count = looked_for[value]
        if cases == 1 and count > 1 and (not named or value in named):
            yield _fault(
                WARNING,
                "structure in one case only",
                f"{_called(value, named)} occurs in one of {count} training cases",
                "it is either trained or validated, never both",
                "add cases that hold it, or check whether the value is a slip",
            )


def _check_gaps(values: list[int], background: int) -> Iterator[Fault]:
    if values and values != list(range(1, len(values) + 1)):
        shown = ", ".join(map(str, (background, *values[:10]))) + (
            f", ..., {values[-1]}" if len(values) > 10 else ""
        )
        yield _fault(
            MENDED,
            "gaps in label values",
            f"the values are {{{shown}}}",
            f"they are mapped to 0..{len(values)} for training, and back in every prediction",
            "nothing needs to be done",
        )


def _called(value: int, named: dict[int, str]) -> str:
    return f"'{named[value]}' (value {value})" if value in named else f"value {value}"


def _of(cases: int, count: int) -> str:
    return f"{cases} of {count} cases"


def _fault(level: str, rule: str, found: str, consequence: str, remedy: str) -> Fault:
    return Fault(
        level=level, rule=rule, case=None, file=None, found=found, consequence=consequence, remedy=remedy
    )
