"""The last step of a bundle's `evaluating`: predictions on disk against the data set's own label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.metrics import evaluate_files, format_table, summarise, write_metrics
from pgsam_monai.predicting.each import SomeFailed
from pgsam_monai.predicting.inputs import prediction_file

PREDICTIONS = "predictions"


def evaluate_predictions(
    cases: Sequence[Mapping[str, Any]],
    folder: str | Path,
    *,
    labels: Mapping[str, int],
    unreadable: Mapping[str, str] | None = None,
    reference_labels: Mapping[str, int | Sequence[int]] | None = None,
    protocol: str = "mm",
    tolerance_mm: float = 2.0,
    ignore: int | None = None,
) -> None:
    """Write metrics.csv and metrics.json into `folder` and print the table.

    Measured are the files as a user gets them, on the original grid and with the original values.

    Args:
        cases: [{"name", "image", "label", ("labelled", "subject")}]; those without a label are left out, of the others
            the structures that weren't looked for: "labelled" are the label files' values that were. Intervals are
            over subjects.
        folder: holds `predictions/<case name>.*`.
        labels: foreground class names -> values in the files.
        unreadable: case -> why its image couldn't be read, so that there is no prediction of it.
        reference_labels: the same names -> values in the label files, or lists of values that are one class, where
            these come from another data set; None where both have the same.
        protocol: "mm" (honest) or "synapse" (as in the papers).
        tolerance_mm: of the normalised surface Dice.
        ignore: value of voxels in the label files that nobody labelled, and that count for no class.

    Raises:
        ValueError: no case has a label.
        FileNotFoundError: a prediction is missing.
        SomeFailed: of several cases, after the others were measured and written.
    """
    faults = dict(unreadable or {})
    labelled = [case for case in cases if case.get("label") and case["name"] not in faults]
    if not labelled and faults:
        raise SomeFailed([], faults, what="measured")
    if not labelled:
        raise UserFault(
            "evaluate: none of the cases has a label; choose --part validation, or label some cases."
        )
    folder = Path(folder)
    pairs = [(prediction_file(folder / PREDICTIONS, case["name"]), case["label"]) for case in labelled]
    names = [case["name"] for case in labelled]
    rows = evaluate_files(
        pairs, labels=labels, reference_labels=reference_labels, protocol=protocol, tolerance_mm=tolerance_mm,
        names=names, progress=True, faults=faults, labelled=[case.get("labelled") for case in labelled], ignore=ignore,
    )  # fmt: skip
    if faults and len(cases) == 1:
        raise UserFault(*faults.values())
    if not rows:
        raise SomeFailed(rows, faults, what="measured")
    subjects = {case["name"]: case.get("subject", case["name"]) for case in labelled}
    summary = summarise(rows, subjects=[subjects[row.name] for row in rows])
    table, _ = write_metrics(rows, summary, folder)
    print(format_table(summary))
    print(f"Per case and class: {table}")
    if faults:
        raise SomeFailed(rows, faults, what="measured")
