"""Applies all rules to a measured data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgsam_monai.base.cases import stem_of
from preprocess.checks.across import check_across
from preprocess.checks.faults import FATAL, MENDED, WARNING, Fault
from preprocess.checks.single import check_case
from preprocess.fingerprint.facts import CaseFacts
from preprocess.layouts.records import Dataset

_ORDER = (FATAL, WARNING, MENDED)


def check_dataset(dataset: Dataset, cases: Sequence[CaseFacts]) -> tuple[Fault, ...]:
    """Every fault of `dataset`, whose cases were measured as `cases`; fatal ones first, each once.

    A fatal fault either names the case to leave out, or (case None) concerns the data set without the faulty
    cases, so leaving those out cannot mend it.
    """
    faults = [*check_partners(dataset)]
    expected = _expected_channels(cases)
    for case in cases:
        faults.extend(
            check_case(case, expected_channels=expected, is_picture=dataset.file_format == "picture")
        )
    unusable = {fault.case for fault in faults if fault.level == FATAL}
    faults.extend(check_across(dataset, [case for case in cases if case.name not in unusable]))
    return tuple(sorted(faults, key=lambda fault: _ORDER.index(fault.level)))


def _expected_channels(cases: Sequence[CaseFacts]) -> int | None:
    counts = [case.channels for case in cases if case.error is None]
    return max(set(counts), key=lambda n: (counts.count(n), -n)) if counts else None


def check_partners(dataset: Dataset) -> Iterator[Fault]:
    """One fault per file that lacks its partner."""
    for file in dataset.images_without_label:
        yield Fault(
            level=FATAL,
            rule="image without label",
            case=stem_of(file),
            file=file,
            found="no label belongs to this image",
            consequence="nothing can be learned from it, and a misnamed label may be left unused",
            remedy="add or rename the label, or move the image to the test images",
        )
    for file in dataset.labels_without_image:
        yield Fault(
            level=FATAL,
            rule="label without image",
            case=stem_of(file),
            file=file,
            found="no image belongs to this label",
            consequence="the label is of no use, and a misnamed image may be left unused",
            remedy="add or rename the image, or remove the label",
        )
