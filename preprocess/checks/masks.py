"""Faults of labels that are a mask per structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preprocess.checks.faults import WARNING, Fault
from preprocess.fingerprint.facts import CaseFacts
from preprocess.layouts.records import Dataset

MOST_PAIRS = 3
"""of overlapping structures that are named in one case"""


def check_masks(dataset: Dataset, training: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Masks that overlap, by case; structures whose mask some cases lack."""
    called = {value: name for name, value in (dataset.label_names or {}).items()}
    for case in training:
        if case.overlaps:
            yield _overlap(case, called)
    used = {case.name for case in training}
    cases = [case for case in dataset.cases if case.name in used and isinstance(case.label, dict)]
    for value in sorted({int(value) for case in cases for value in case.label}):
        labels = [case.label for case in cases if case.looked_for(value)]
        lacking = sum(str(value) not in label for label in labels)
        if lacking:
            yield Fault(
                level=WARNING,
                rule="no mask of a structure",
                case=None,
                file=None,
                found=f"'{called.get(value, value)}' has none in {lacking} of {len(labels)} training cases",
                consequence="it counts as absent there",
                remedy="add the masks, if it is there to be seen; if nobody looked, --labelled masks says so",
            )


def _overlap(case: CaseFacts, called: dict[int, str]) -> Fault:
    most = sorted(case.overlaps, key=lambda overlap: -overlap[2])
    shown = [
        f"'{called.get(a, a)}' and '{called.get(b, b)}' in {count} voxels"
        for a, b, count in most[:MOST_PAIRS]
    ]
    more = f", +{len(most) - MOST_PAIRS} pairs more" if len(most) > MOST_PAIRS else ""
    return Fault(
        level=WARNING,
        rule="masks overlap",
        case=case.name,
        file=case.label_file,
        found=", ".join(shown) + more,
        consequence="a voxel has one class: of overlapping structures the one with fewer voxels in the case is kept",
        remedy="nothing needs to be done where one structure lies within another; else correct the masks",
    )
