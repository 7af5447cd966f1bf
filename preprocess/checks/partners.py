"""Images without label and labels without image."""

from __future__ import annotations

from collections.abc import Iterator

from preprocess.checks.faults import FATAL, Fault
from preprocess.layouts.records import Dataset
from preprocess.layouts.tree import stem_of


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
