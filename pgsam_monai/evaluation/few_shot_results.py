"""The numbers of a few-shot curve on disk: a row per run, as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pgsam_monai.base.files import write_text

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finished run."""

    network: str
    cases: int
    """training cases"""
    seed: int
    dice: float | None
    """of the held-out cases, mean over classes of the classes' means; None where no case defines it"""
    dice_by_class: dict[str, float | None]
    steps: int
    """of the optimiser"""
    wall_s: float
    """of the training process, with its start, the cases it is the first to preprocess, and the last validation"""
    cpu_s: float
    """likewise, of all its threads and data loading workers"""
    resumed: bool
    """the training was interrupted: wall_s and cpu_s are of its last part alone"""


def read_rows(folder: Path) -> list[Row]:
    """Rows of all finished runs in a curve's folder, by cases and seed."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("cases_*/result.json")]
    return sorted((Row(**record) for record in found), key=lambda row: (row.cases, row.seed))


def write_results(rows: Sequence[Row], folder: Path) -> None:
    """Write few_shot.csv, with a column of Dice per class, and few_shot.json; each renamed into place."""
    labels = list(dict.fromkeys(label for row in rows for label in row.dice_by_class))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = [f"dice_{label}" for label in labels]
    writer.writerow(["network", "cases", "seed", "dice", *classes, "steps", "wall_s", "cpu_s", "resumed"])
    for row in rows:
        scores = (row.dice, *(row.dice_by_class.get(label) for label in labels))
        cells = ["" if score is None else f"{score:.6f}" for score in scores]
        times = (f"{row.wall_s:.1f}", f"{row.cpu_s:.1f}", row.resumed)
        writer.writerow([row.network, row.cases, row.seed, *cells, row.steps, *times])
    write_text(folder / "few_shot.csv", text.getvalue())
    content = {"schema_version": SCHEMA_VERSION, "runs": [asdict(row) for row in rows]}
    write_text(folder / "few_shot.json", json.dumps(content, indent=1) + "\n")
