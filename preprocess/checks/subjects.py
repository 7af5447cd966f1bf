"""Several cases of one subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from preprocess.checks.faults import WARNING, Fault
from preprocess.fingerprint.facts import CaseFacts
from preprocess.layouts.records import Dataset


def check_subjects(dataset: Dataset, training: Sequence[CaseFacts]) -> Iterator[Fault]:
    """One fault where subjects with several training cases aren't kept together by the data set's own folds."""
    used = {case.name for case in training}
    cases = [case for case in dataset.cases if case.name in used and case.subject]
    counts = Counter(case.subject for case in cases)
    several = [subject for subject, count in counts.items() if count > 1]
    if several and not all(case.fold is not None for case in cases):
        yield Fault(
            level=WARNING,
            rule="several cases of one subject",
            case=None,
            file=None,
            found=f"{len(several)} of {len(counts)} subjects, such as {several[0]} with {counts[several[0]]} cases",
            consequence="folds are drawn by case, so one subject may train and validate: scores come out too good",
            remedy='test on other subjects, or state the folds: a datalist JSON whose entries have "fold"',
        )
