"""The last step of a bundle's `evaluating`: predictions on disk against the data set's own label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.metrics import CaseMetrics, Summary, evaluate_files, format_table, summarise, write_metrics
from pgsam_monai.metrics.cases import MM, PAPERS
from pgsam_monai.predicting.each import SomeFailed
from pgsam_monai.predicting.inputs import prediction_file

PREDICTIONS, OF_PAPERS = "predictions", "predictions_papers"


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

    Measured are the files as a user gets them, on the original grid and with the original values. By the papers'
    protocol there are two tables, each by its name: "mm" of these files, and "papers" of the label maps that the
    papers' code would have made.

    Args:
        cases: [{"name", "image", "label", ("labelled", "subject")}]; those without a label are left out, of the others
            the structures that weren't looked for: "labelled" are the label files' values that were. Intervals are
            over subjects.
        folder: holds `predictions/<case name>.*`, for the papers' protocol `predictions_papers/` too.
        labels: foreground class names -> values in the files.
        unreadable: case -> why its image couldn't be read, so that there is no prediction of it.
        reference_labels: the same names -> values in the label files, or lists of values that are one class, where
            these come from another data set; None where both have the same.
        protocol: "mm", or "papers" for both; "synapse" is that of earlier versions' bundles (`metrics.cases`).
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
    options = {
        "labels": labels, "reference_labels": reference_labels, "tolerance_mm": tolerance_mm, "ignore": ignore,
        "faults": faults,
    }  # fmt: skip
    both = protocol == PAPERS
    found = _measured(labelled, folder / PREDICTIONS, protocol=MM if both else protocol, **options)
    if faults and len(cases) == 1:
        raise UserFault(*faults.values())
    if found is None:
        raise SomeFailed([], faults, what="measured")
    theirs = _measured(labelled, _of_papers(folder), protocol=PAPERS, **options) if both else None
    rows, summary = found
    table, _ = write_metrics(rows, summary, folder, papers=theirs)
    print(format_table(summary))
    if theirs:
        print(f"\n{format_table(theirs[1])}")
    print(f"Per case and class: {table}")
    if faults:
        raise SomeFailed(rows, faults, what="measured")


def _measured(
    cases: Sequence[Mapping[str, Any]], predictions: Path, *, faults: dict[str, str], **options: Any
) -> tuple[list[CaseMetrics], Summary] | None:
    """The cases that can be measured and their summary; None where none can. `faults` hears of the others."""
    cases = [case for case in cases if case["name"] not in faults]
    rows = evaluate_files(
        [(prediction_file(predictions, case["name"]), case["label"]) for case in cases],
        names=[case["name"] for case in cases], progress=True, faults=faults,
        labelled=[case.get("labelled") for case in cases], **options,
    )  # fmt: skip
    subjects = {case["name"]: case.get("subject", case["name"]) for case in cases}
    return (rows, summarise(rows, subjects=[subjects[row.name] for row in rows])) if rows else None


def _of_papers(folder: Path) -> Path:
    """Where the papers' label maps lie."""
    if not (folder / OF_PAPERS).is_dir():
        raise UserFault(
            "evaluate: this bundle was planned by an earlier version and makes no label maps as the papers do; write "
            "it again with pgsam-plan --from_plan, or give --protocol mm."
        )
    return folder / OF_PAPERS
