"""What a cross-validation comes to: every case predicted by the network that didn't see it, in one table."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.files import whole, write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.evaluation.predictions import PREDICTIONS
from pgsam_monai.evaluation.soft_dice import FILE as SOFT_DICE
from pgsam_monai.evaluation.soft_dice import read_soft_dice, write_soft_dice
from pgsam_monai.evaluation.trainings import Training
from pgsam_monai.metrics import Summary, format_table, read_metrics, summarise, write_metrics
from pgsam_monai.metrics.summary import RESAMPLES, finite_or_none
from pgsam_monai.predicting.inputs import prediction_file

SCHEMA_VERSION = 1
SEED = 0
"""of the intervals"""


@dataclass(frozen=True, kw_only=True)
class FoldRow:
    """One finished fold: what was trained how long."""

    fold: int
    training_cases: int
    validation_cases: int
    dice: float | None
    """of its validation cases, mean over classes of the classes' means; None where no case defines it"""
    steps: int
    """of the optimiser"""
    device: str
    threads: int | None
    """None: as the environment said"""
    wall_s: float
    """of the training process, with its start, the cases it is the first to preprocess, and the last validation"""
    cpu_s: float
    """likewise, of all its threads and data loading workers"""
    resumed: bool
    """the training was interrupted: wall_s and cpu_s are of its last part alone"""

    def __str__(self) -> str:
        dice = "undefined" if self.dice is None else f"{self.dice:.3f}"
        rest = ", its last part after an interruption" if self.resumed else ""
        return (
            f"fold {self.fold}: Dice {dice} on {self.validation_cases} cases; {self.steps} steps on "
            f"{self.training_cases} cases in {self.wall_s:.0f} s ({self.cpu_s:.0f} CPU s{rest}) on {self.device}"
        )


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """The cross-validation's result as it is on disk."""

    summary: Summary
    rows: tuple[FoldRow, ...]
    predictions: Path
    """a label map per case"""
    table: Path
    """metrics.csv: case, fold, class and metrics"""


def read_row(file: Path) -> FoldRow:
    """The row of a finished fold."""
    remedy = "delete it, then that fold is measured again"
    return made_of(
        read_json(file, remedy=remedy), lambda content: FoldRow(**content), file=file, remedy=remedy
    )


def write_out_of_fold(
    folds: Mapping[int, Training], splits: Mapping[str, Any], folder: Path, *, say: Callable[[str], None]
) -> OutOfFold:
    """Gather finished folds in `folder`: predictions, soft_dice.json (how sure of them the networks were), metrics.csv
    and .json with the fold of each case, folds.json.

    Intervals are percentile bootstraps over subjects, or over cases where splits.json names no subjects.

    Args:
        folds: the finished ones by number.
        splits: the content of splits.json.
        folder: of the cross-validation.
        say: hears the tables.
    """
    measured = [
        (row, fold)
        for fold, training in folds.items()
        for row in read_metrics(training.measured / "metrics.json")
    ]
    cases, numbers = [row for row, _ in measured], [fold for _, fold in measured]
    entries = splits["cases"]
    subjects = [entries[row.name].get("subject", row.name) for row in cases]
    for row, fold in measured:
        _gather(prediction_file(folds[fold].measured / PREDICTIONS, row.name), folder / PREDICTIONS)
    _gather_soft_dice(folds, folder)
    summary = summarise(cases, SEED, subjects=subjects)
    table, _ = write_metrics(cases, summary, folder, about={"fold": numbers})
    rows = tuple(read_row(training.result) for training in folds.values())
    interval = f"95 %, percentile bootstrap over {_counted(subjects)}, {RESAMPLES} resamples, seed {SEED}"
    content = {
        "schema_version": SCHEMA_VERSION, "folds": list(folds), "folds_planned": len(splits["folds"]),
        "cases": len(cases), "interval": interval, "summary": [asdict(score) for score in summary.scores],
        "trainings": [asdict(row) for row in rows],
    }  # fmt: skip
    write_text(folder / "folds.json", json.dumps(finite_or_none(content), indent=1, allow_nan=False) + "\n")
    for line in (
        *map(str, rows),
        _scope(folds, splits, len(cases)),
        format_table(summary),
        f"Intervals: {interval}.",
    ):
        say(line)
    return OutOfFold(summary=summary, rows=rows, predictions=folder / PREDICTIONS, table=table)


def _gather_soft_dice(folds: Mapping[int, Training], folder: Path) -> None:
    """How sure the networks were of all cases; nothing where an older bundle didn't tell it of some fold."""
    files = [training.measured / SOFT_DICE for training in folds.values()]
    if all(file.is_file() for file in files):
        cases = [case for file in files for case in read_soft_dice(file).items()]
        write_soft_dice(folder / SOFT_DICE, dict(cases))
    else:
        (folder / SOFT_DICE).unlink(missing_ok=True)


def _counted(subjects: list[str]) -> str:
    number = len(set(subjects))
    return f"{number} cases" if number == len(subjects) else f"{number} subjects"


def _scope(folds: Mapping[int, Training], splits: Mapping[str, Any], cases: int) -> str:
    """Which of the folds are in the table."""
    planned, named = len(splits["folds"]), ", ".join(map(str, folds))
    part = (
        f"all {planned} folds" if len(folds) == planned else f"A PART ONLY, fold {named} of {planned} folds"
    )
    return f"Out of fold, {part}: {cases} cases, each predicted by the network that did not train on it."


def _gather(file: Path, folder: Path) -> None:
    """A second name for a prediction, or a copy where file systems have no links."""
    with whole(folder / file.name) as partial:
        try:
            os.link(file.resolve(), partial)
        except OSError:
            shutil.copyfile(file, partial)
