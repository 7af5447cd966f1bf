"""The studies that a bundle is trained on: those with a final label, and which of them are for validation."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.volume import ReadError
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.training.segment_names import Classes, StudyLabel, read_study_label

logger = logging.getLogger(__name__)

FINAL = "final"
"""MONAI Label's tag of labels that a person has finished"""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A labelled image."""

    name: str
    """its id in the datastore"""
    image: str
    """file, or DICOM folder"""
    label: StudyLabel

    @property
    def case(self) -> dict[str, str]:
        """As the datasets take it."""
        return {"name": self.name, "image": self.image, "label": str(self.label.file)}


def labelled_studies(datastore: Any, classes: Classes, *, folder: Path) -> list[Study]:
    """All studies with a final label, by name; what is left out of their labels is logged as warnings.

    Args:
        datastore: MONAI Label's.
        classes: of the bundle.
        folder: for copies of labels whose values are not the data set's.

    Raises:
        RequestFault: there is none, none holds any of the classes, or labels that can't be read.
    """
    studies, faults = [], []
    for name in sorted(datastore.get_labeled_images()):
        try:
            studies.append(_read_study(datastore, name, classes, folder))
        except ReadError as error:
            faults.append(f"study '{name}': {error}")
    if faults:
        raise RequestFault(f"Labels can't be read, save them again: {'; '.join(faults)}.", status=422)
    if not studies:
        raise RequestFault(
            f"There is nothing to train on: no study has a label that is saved as {FINAL}; submit some first.",
            status=422,
        )
    if not any(study.label.classes for study in studies):
        raise RequestFault(
            f"None of the {len(studies)} labels holds a structure of this bundle ({', '.join(classes.values)}); label "
            "these, by these names.",
            status=422,
        )
    return studies


def _read_study(datastore: Any, name: str, classes: Classes, folder: Path) -> Study:
    label = datastore.get_label_by_image_id(name, FINAL)
    read = read_study_label(
        Path(datastore.get_label_uri(label, FINAL)), datastore.get_label_info(label, FINAL), classes,
        study=name, folder=folder,
    )  # fmt: skip
    for sentence in read.warnings:
        logger.warning(sentence)
    if not read.classes:
        logger.warning(
            "Study '%s': its label holds no structure of this bundle; it trains as background.", name
        )
    return Study(name=name, image=datastore.get_image_uri(name), label=read)


def split_studies(studies: Sequence[Study], share: float) -> tuple[list[Study], list[Study]]:
    """Studies for training and for validation, `share` (0 to below 1) of them rounded, and never all.

    A study's place depends on its name: it is validated on again after more are labelled, unless they push it aside.
    """
    count = min(math.floor(share * len(studies) + 0.5), len(studies) - 1)
    drawn = sorted(studies, key=lambda study: hashlib.sha256(study.name.encode()).hexdigest())
    held_out = {study.name for study in drawn[:count]}
    return (
        [study for study in studies if study.name not in held_out],
        [study for study in studies if study.name in held_out],
    )
