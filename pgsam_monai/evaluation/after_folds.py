"""What predictions out of fold decide for a bundle: its post-processing, and which Dice to expect of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cleaning import FILE, read_cleanings
from pgsam_monai.base.labels import Entry, known_classes
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import select_cases
from pgsam_monai.evaluation.calibration import calibrate, dice_of_found, write_calibration
from pgsam_monai.evaluation.folds import FOLDER, CrossValidation
from pgsam_monai.evaluation.postprocessing import choose_for_bundle, of_cases
from pgsam_monai.evaluation.predictions import PREDICTIONS
from pgsam_monai.evaluation.soft_dice import FILE as SOFT_DICE
from pgsam_monai.evaluation.soft_dice import read_soft_dice
from pgsam_monai.metrics import read_metrics
from pgsam_monai.predicting.confidence import FILE as CONFIDENCE
from pgsam_monai.predicting.inputs import prediction_file

METRICS = "metrics.json"


def choose_postprocessing(validation: CrossValidation, *, say: Callable[[str], None] = print) -> Path | None:
    """Choose post-processing on the predictions out of fold, once every fold is finished, and write it.

    It goes into the bundle's configs, where it holds from then on; of a cross-validation elsewhere into that folder.

    Args:
        validation: after `run_folds`.
        say: hears what was chosen and what each structure gains, or why nothing is chosen.

    Returns:
        the postprocessing.json; None where it is too early.
    """
    if why := _too_early(validation):
        say(f"Post-processing is not chosen, nor which Dice to expect: {why}.")
        return None
    return choose_for_bundle(
        validation.bundle, _predicted(validation), validation.folder / PREDICTIONS,
        file=_chosen_file(validation, FILE), say=say,
    )  # fmt: skip


def calibrate_confidence(
    validation: CrossValidation, cleaning: Path, *, say: Callable[[str], None] = print
) -> Path | None:
    """Calibrate expected Dice on the predictions out of fold, with post-processing done to them, and write it.

    It goes where the post-processing went.

    Args:
        validation: after `choose_postprocessing`.
        cleaning: the postprocessing.json that it wrote.
        say: hears a line per structure, or why nothing is calibrated.

    Returns:
        the confidence.json; None of a bundle that doesn't tell how sure its network is.
    """
    bundle, sure_file = validation.bundle, validation.folder / SOFT_DICE
    if not sure_file.is_file():
        say(
            "Confidence is not calibrated: these folds don't tell how sure their networks were; write the bundle again "
            "with pgsam-plan --from_plan, and train the folds anew."
        )
        return None
    cases, labels, sure = _predicted(validation), _labels(bundle), read_soft_dice(sure_file)
    entries = bundle.decisions["labels"]
    measure = partial(
        dice_of_found,
        labels=labels,
        background=bundle.background,
        cleanings=read_cleanings(cleaning, entries),
    )
    subjects = [validation.splits["cases"][case["name"]].get("subject", case["name"]) for case in cases]
    structures = calibrate(
        np.array([[sure.get(case["name"], {}).get(name, np.nan) for name in labels] for case in cases]),
        np.where(_known(bundle, cases), of_cases(measure, _pairs(validation, cases)), np.nan),
        labels=labels, subjects=subjects,
    )  # fmt: skip
    on = f"{len(cases)} cases of {len(set(subjects))} subjects out of fold"
    file = write_calibration(
        structures, _chosen_file(validation, CONFIDENCE), labels=entries, calibrated_on=on
    )
    for line in ("Expected Dice, calibrated out of fold (errors are of subjects left out):", *structures):
        say(str(line))
    return file


def _predicted(validation: CrossValidation) -> list[dict[str, Any]]:
    """Cases that have a prediction out of fold; others couldn't be read."""
    metrics = {fold: validation.training(fold).measured / METRICS for fold in validation.finished()}
    return [
        case
        for fold, file in metrics.items()
        for names in [{row.name for row in read_metrics(file)}]
        for case in _kept_out(validation, fold)
        if case["name"] in names
    ]


def _pairs(validation: CrossValidation, cases: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    """Files of predictions and references."""
    folder = validation.folder / PREDICTIONS
    return [(prediction_file(folder, case["name"]), case["label"]) for case in cases]


def _labels(bundle: Bundle) -> dict[str, Entry]:
    """Foreground names -> values in label files."""
    return dict(zip(bundle.names[1:], bundle.decisions["labels"][1:], strict=True))


def _known(bundle: Bundle, cases: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(N, K) whether a case's label was searched for a structure."""
    return np.array([known_classes(bundle.decisions["labels"], case.get("labelled"))[1:] for case in cases])


def _chosen_file(validation: CrossValidation, name: str) -> Path:
    """Of the bundle's configs; of a cross-validation elsewhere in that folder."""
    own = validation.folder == validation.bundle.folder / FOLDER
    return validation.bundle.config_file(name) if own else validation.folder / name


def _too_early(validation: CrossValidation) -> str | None:
    if not validation.untouched:
        return "the bundle is of an older version, write it again with pgsam-plan --from_plan"
    if any(
        "ignore" in step
        for step in validation.bundle.config("evaluate.json")["evaluating"]
        if isinstance(step, dict)
    ):
        return "some voxels of the labels are unknown, and may be what a rule removes or fills"
    if len(validation.finished()) < len(validation.splits["folds"]):
        return "not all folds are finished"
    return None


def _kept_out(validation: CrossValidation, fold: int) -> list[dict[str, Any]]:
    dataset = validation.bundle.content("dataset_dir")
    file = validation.bundle.config_file("splits.json")
    return select_cases(file, dataset, fold=fold, part="validation")
