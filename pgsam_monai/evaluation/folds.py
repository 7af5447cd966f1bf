"""Cross-validation: each fold trains a network and predicts the cases that it kept out, with the last network.

A fold's folder is a series' training (`trainings`). Its weights lie in it beside the predictions that they made, not
below the bundle's models: whatever belongs to one cross-validation is forgotten, or moved, as one folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.child_processes import Cost, run_logged
from pgsam_monai.base.cleaning import FILE
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.splits import read_splits
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import REMEDY, select_cases
from pgsam_monai.evaluation.fold_results import FoldRow, OutOfFold, read_row, write_out_of_fold
from pgsam_monai.evaluation.postprocessing import choose_for_bundle
from pgsam_monai.evaluation.predictions import PREDICTIONS
from pgsam_monai.evaluation.sharing import Admission, share_machine
from pgsam_monai.evaluation.trainings import (
    CONFIGS,
    Place,
    Training,
    carry_out,
    check_overrides,
    claim,
    run_each,
)
from pgsam_monai.metrics import read_metrics

SERIES = "cross-validation"
METRICS = "metrics.json"
FOLDER = "eval/folds"
"""of the bundle's own cross-validation"""
SET_BY_FOLDS = ("splits_file", "fold", "part", "model_selection", "allow_trained", "clean_predictions")
CLEANED = "clean_predictions"
"""the entry of configs that says whether post-processing is done; bundles of older versions have none"""


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """Which folds, with which settings, and where they go."""

    bundle: Bundle
    folder: Path
    splits: Mapping[str, Any]
    """the content of splits.json"""
    overrides: Mapping[str, object]
    """values of train.json or evaluate.json that replace the bundle's in every fold"""

    def training(self, fold: int) -> Training:
        return Training(
            series=SERIES, title=f"fold {fold}", bundle=self.bundle, folder=self.folder / f"fold_{fold}",
            own={"fold": fold} | self.untouched, overrides=self.overrides,
        )  # fmt: skip

    @property
    def untouched(self) -> dict[str, bool]:
        """Predictions out of fold have nothing done to them, so that post-processing can be chosen on them."""
        return {CLEANED: False} if CLEANED in self.bundle.config("train.json") else {}

    def finished(self) -> list[int]:
        """The folds whose results are here."""
        return [fold for fold in range(len(self.splits["folds"])) if self.training(fold).result.is_file()]


def make_folds(
    bundle: str | Path, *, folds: Sequence[int] | None = None, overrides: Mapping[str, object],
    folder: str | Path | None = None,
) -> tuple[CrossValidation, list[int]]:  # fmt: skip
    """Check a cross-validation's settings and claim its folder; nothing is trained.

    The last network is the measured one, so that kept-out cases have no say in choosing it, and training validates at
    its end only, unless the overrides have another val_interval.

    Args:
        bundle: the bundle's folder.
        folds: their numbers; None for all.
        overrides: values of train.json or evaluate.json.
        folder: where everything goes; eval/folds of the bundle by default.

    Returns:
        the cross-validation, and the numbers of its folds that were asked for.

    Raises:
        MissingFile: no bundle.
        UserFault: unknown overrides or folds, a case that two folds keep out, a folder of other settings.
    """
    planned = Bundle(Path(bundle).resolve(), configs=CONFIGS, overrides=overrides)
    check_overrides(overrides, SET_BY_FOLDS, series=SERIES)
    splits = read_splits(planned.config_file("splits.json"), remedy=REMEDY)
    there = range(len(splits["folds"]))
    chosen = list(there) if folds is None else list(folds)
    if not chosen or set(chosen) - set(there) or len(set(chosen)) < len(chosen):
        typed = ",".join(map(str, chosen)) or "none"
        raise UserFault(f"{SERIES}: folds are different numbers from 0 to {there[-1]}, or all; got {typed}.")
    _check_kept_out(splits)
    epochs = overrides.get("epochs", planned.config("train.json")["epochs"])
    validation = CrossValidation(
        bundle=planned, folder=Path(folder).resolve() if folder else planned.folder / FOLDER, splits=splits,
        overrides={"model_selection": "last", "val_interval": epochs} | dict(overrides),
    )  # fmt: skip
    claim(validation.folder, planned, validation.overrides, series=SERIES, flag="--folds_folder")
    return validation, chosen


def run_folds(
    validation: CrossValidation, folds: Sequence[int], *, parallel: int | None = None,
    call: Callable[..., Cost] = run_logged, say: Callable[[str], None] = print,
) -> OutOfFold:  # fmt: skip
    """Train and measure whichever of these folds aren't finished, and write the table over all that are.

    Args:
        validation: made by `make_folds`.
        folds: numbers.
        parallel: folds at a time; None: as many as cores or GPUs and memory bear.
        call: runs a command, see `base.child_processes.run_logged`.
        say: hears a line per fold, and the tables.

    Raises:
        UserFault: a fold ended with an error; finished ones stay.
    """
    device = validation.overrides.get("device")
    todo = [fold for fold in folds if fold not in validation.finished()]
    if todo:
        shares = share_machine(len(folds), device=None if device is None else str(device), parallel=parallel)
        say(f"{len(todo)} fold{'s' * (len(todo) > 1)} to train, {shares.why}")
        admission = Admission(say) if shares.waits else None

        def do(fold: int, place: int) -> FoldRow:
            try:
                return do_fold(validation, fold, shares.places[place], call)
            finally:
                if admission:
                    admission.ended(validation.training(fold))

        def admit(fold: int) -> None:
            if admission:
                admission.wait(validation.training(fold))

        run_each(
            folds, lambda fold: validation.training(fold).result.is_file(), do, parallel=len(shares.places),
            unit="folds", tell=lambda _, row: str(row), say=say, admit=admit,
        )  # fmt: skip
    done = {fold: validation.training(fold) for fold in validation.finished()}
    return write_out_of_fold(done, validation.splits, validation.folder, say=say)


def do_fold(validation: CrossValidation, fold: int, place: Place, call: Callable[..., Cost]) -> FoldRow:
    """Train and measure one fold, from where it stands, in processes of their own."""
    training = validation.training(fold)
    carry_out(training, lambda cost: asdict(_row(validation, fold, place, cost)), place=place, call=call)
    return read_row(training.result)


def _row(validation: CrossValidation, fold: int, place: Place, cost: Mapping[str, Any]) -> FoldRow:
    training, lists = validation.training(fold), validation.splits["folds"][fold]
    device = validation.overrides.get("device") or ("cpu" if place.gpu is None else f"GPU {place.gpu}")
    return FoldRow(
        fold=fold, training_cases=len(lists["training"]), validation_cases=len(lists["validation"]),
        dice=training.dice()["mean"], steps=training.steps, device=str(device), threads=place.threads, **cost,
    )  # fmt: skip


def _check_kept_out(splits: Mapping[str, Any]) -> None:
    """An out-of-fold table has each case once."""
    times = Counter(name for fold in splits["folds"] for name in fold["validation"])
    if several := [name for name, number in times.items() if number > 1]:
        raise UserFault(
            f"{SERIES}: '{several[0]}' is a validation case of several folds, so it has no one prediction out of fold; "
            "state folds that keep out each case once."
        )


def choose_postprocessing(validation: CrossValidation, *, say: Callable[[str], None] = print) -> Path | None:
    """Choose post-processing on the predictions out of fold, once every fold is finished, and write it.

    It goes into the bundle's configs, where it holds from then on; of a cross-validation elsewhere into that folder.

    Args:
        validation: after `run_folds`.
        say: hears what was chosen and what each structure gains, or why nothing is chosen.

    Returns:
        the postprocessing.json; None where it is too early.
    """
    finished, bundle = validation.finished(), validation.bundle
    if why := _too_early(validation):
        say(f"Post-processing is not chosen: {why}.")
        return None
    predicted = {
        row.name for fold in finished for row in read_metrics(validation.training(fold).measured / METRICS)
    }
    cases = [case for fold in finished for case in _kept_out(validation, fold) if case["name"] in predicted]
    own = validation.folder == bundle.folder / FOLDER
    file = bundle.config_file(FILE) if own else validation.folder / FILE
    return choose_for_bundle(bundle, cases, validation.folder / PREDICTIONS, file=file, say=say)


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
