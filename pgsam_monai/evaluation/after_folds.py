"""What predictions out of fold decide for a bundle: its post-processing, and which Dice to expect of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgsam_monai.base.cleaning import FILE
from pgsam_monai.data.splits import select_cases
from pgsam_monai.evaluation.calibration import calibrate_for_bundle
from pgsam_monai.evaluation.folds import FOLDER, CrossValidation
from pgsam_monai.evaluation.postprocessing import choose_for_bundle
from pgsam_monai.evaluation.predictions import PREDICTIONS
from pgsam_monai.evaluation.soft_dice import FILE as SOFT_DICE
from pgsam_monai.evaluation.soft_dice import read_soft_dice
from pgsam_monai.metrics import read_metrics
from pgsam_monai.predicting.confidence import FILE as CONFIDENCE

METRICS = "metrics.json"
UNDECIDED = "Post-processing is not chosen, nor which Dice to expect: "
UNKNOWN_VOXELS = "some voxels of the labels are unknown, and may be what a rule removes or fills"


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
        say(f"{UNDECIDED}{why}.")
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
    sure_file = validation.folder / SOFT_DICE
    if not sure_file.is_file():
        say(
            "Confidence is not calibrated: these folds don't tell how sure their networks were, as mirrored answers "
            "and bundles of older versions don't; write the bundle again with pgsam-plan --from_plan, and train the "
            "folds anew without mirror."
        )
        return None
    return calibrate_for_bundle(
        validation.bundle, _predicted(validation), validation.folder / PREDICTIONS, read_soft_dice(sure_file),
        cleaning=cleaning, file=_chosen_file(validation, CONFIDENCE), say=say,
    )  # fmt: skip


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
        return UNKNOWN_VOXELS
    if len(validation.finished()) < len(validation.splits["folds"]):
        return "not all folds are finished"
    return None


def _kept_out(validation: CrossValidation, fold: int) -> list[dict[str, Any]]:
    dataset = validation.bundle.content("dataset_dir")
    file = validation.bundle.config_file("splits.json")
    return select_cases(file, dataset, fold=fold, part="validation")
