"""`pgsam evaluate --rank_labels`: which training cases' labels to look at first.

A network that didn't train on a case has no part in its label. Where both disagree more than is usual for a structure,
the case is hard, or its label is wrong: a person sees which in a picture.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import visible, write_text
from pgsam_monai.base.labels import Entry, values_of
from pgsam_monai.base.replacing import is_kept, keep_aside, note_written
from pgsam_monai.base.splits import read_splits
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import REMEDY, located, require_files
from pgsam_monai.metrics.cases import CaseMetrics, ClassMetrics
from pgsam_monai.metrics.files import evaluate_files, read_pair
from pgsam_monai.pictures.overlays import write_overlays
from pgsam_monai.predicting.each import SomeFailed
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.voxels.labels import label_indices

OUT_OF_FOLD = "eval/folds/predictions"
"""below a bundle: predictions of its training cases, each by a network that didn't train on the case"""
FOLDER = "eval/label_ranking"
SHOWN = 10
UNTOLD = ("absent", "unlabelled")
"""Outcomes that say nothing of a label."""
CONFUSED = 0.1
"""of a structure's wrong voxels: a class that has so many of them is drawn beside it"""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One structure of a case, as its label has it and as it was predicted."""

    structure: str
    outcome: str
    """found, missed (only the label has it), spurious (only the prediction), absent, unlabelled (not looked for)"""
    dice: float | None
    usual_dice: float | None
    """median over the cases in which label or prediction hold it"""
    excess: float
    """how far Dice lies below the usual; of what only one of both holds, at most its share of the usual volume"""
    label_ml: float | None
    prediction_ml: float
    hd95_mm: float | None


@dataclass(frozen=True, kw_only=True)
class RankedCase:
    """A training case, its structures with the most excess first."""

    rank: int
    case: str
    structures: tuple[Disagreement, ...]
    picture: str | None = None
    """its file in the ranking's folder, of the first cases"""

    @property
    def worst(self) -> Disagreement:
        return self.structures[0]


def rank_labels(
    bundle: str | Path,
    *,
    predictions: str | Path | None = None,
    shown: int = SHOWN,
    overrides: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Rank the training cases by how much label and out-of-fold prediction disagree; returns the results' folder.

    That is eval/label_ranking of the bundle: rank_labels.csv and .json, and pictures of the first cases.

    Args:
        bundle: its folder; weights aren't needed.
        predictions: folder of label maps <case name>.*, each by a network that didn't train on the case; None:
            `OUT_OF_FOLD` of the bundle.
        shown: how many cases are drawn and printed.
        overrides: of train.json or evaluate.json: dataset_dir, splits_file, tolerance_mm.
        say: hears the ranking, and what is left out.

    Raises:
        UserFault: no prediction of a training case, or fewer than one picture is wished.
        SomeFailed: labels or predictions of some cases can't be compared; the others were ranked.
    """
    if shown < 1:
        raise UserFault(f"evaluate: --cases must be at least 1, got {shown}.")
    planned = Bundle(bundle, configs=("train.json", "evaluate.json"), overrides=overrides)
    source = planned.folder / OUT_OF_FOLD if predictions is None else Path(predictions)
    cases = _predicted(_training_cases(planned), source, say)
    require_files(cases, planned.content("dataset_dir"))
    entries = dict(zip(planned.names[1:], planned.decisions["labels"][1:], strict=True))
    faults: dict[str, str] = {}
    rows = evaluate_files(
        [(case["prediction"], case["label"]) for case in cases],
        labels=planned.labels,
        reference_labels={name: values_of(entry) for name, entry in entries.items()},
        tolerance_mm=planned.content("tolerance_mm"),
        names=[case["name"] for case in cases],
        progress=True,
        faults=faults,
        labelled=[case.get("labelled") for case in cases],
        ignore=planned.config("plan.json")["dataset"].get("ignore"),
    )
    if not rows:
        raise SomeFailed(rows, faults, what="ranked")
    ranked, folder = ranking(rows), planned.folder / FOLDER
    files = {case["name"]: case for case in cases}
    drawn = _draw(ranked[:shown], files, entries, folder, window=planned.window)
    ranked = [*drawn, *ranked[shown:]]
    table = write_text(folder / "rank_labels.csv", _csv(ranked))
    note_written(table, write_text(folder / "rank_labels.json", _json(ranked)))
    say(format_ranking(ranked, shown))
    say(f"All cases: {table}; pictures of these: {folder / 'pictures'}")
    if faults:
        raise SomeFailed(rows, faults, what="ranked")
    return folder


def ranking(rows: Sequence[CaseMetrics]) -> list[RankedCase]:
    """Cases in the order of their structure with the most excess; of equals, the farther surfaces first."""
    usual = _usual(rows)
    cases = []
    for row in rows:
        found = [_disagreement(each, *usual[each.label]) for each in row.classes]
        cases.append((row.name, tuple(sorted(found, key=_order))))
    cases.sort(key=lambda case: (_order(case[1][0]), case[0]))
    return [
        RankedCase(rank=rank, case=name, structures=found)
        for rank, (name, found) in enumerate(cases, start=1)
    ]


def format_ranking(ranked: Sequence[RankedCase], shown: int) -> str:
    """The first cases as a text table."""
    lines = [["rank", "case", "structure", "Dice", "usual", "label ml", "predicted ml", "HD95 mm"]]
    for each in ranked[:shown]:
        worst = each.worst
        name = worst.structure if worst.outcome == "found" else f"{worst.structure} ({worst.outcome})"
        dice = [_number(value, 3) for value in (worst.dice, worst.usual_dice)]
        sizes = [_number(value, 2) for value in (worst.label_ml, worst.prediction_ml)]
        lines.append([str(each.rank), each.case, name, *dice, *sizes, _number(worst.hd95_mm, 1)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    head = (
        f"{len(ranked)} training cases, those first whose labels and out-of-fold predictions are least alike:"
    )
    return "\n".join([head, *(text.rstrip() for text in texts)])


def _training_cases(bundle: Bundle) -> list[dict[str, Any]]:
    """All that any fold trains or validates on, with their labels."""
    splits = read_splits(bundle.content("splits_file"), remedy=REMEDY)
    listed = {name for fold in splits["folds"] for part in ("training", "validation") for name in fold[part]}
    place = Path(bundle.content("dataset_dir"))
    cases = [located(name, files, place) for name, files in splits["cases"].items() if name in listed]
    return [case for case in cases if "label" in case]


def _predicted(
    cases: Sequence[Mapping[str, Any]], folder: Path, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Those of which there is a prediction, with its file."""
    found = []
    for case in cases:
        try:
            found.append({**case, "prediction": prediction_file(folder, case["name"])})
        except FileNotFoundError:
            continue
    if not found:
        raise UserFault(
            f"evaluate: '{folder}' has no prediction of any training case; name a folder with --predictions that has "
            "predictions of them by networks that didn't train on them."
        )
    if len(found) < len(cases):
        without = f"{len(cases) - len(found)} of {len(cases)} training cases"
        say(f"{without} have no prediction in '{folder}' and are left out.")
    return found


def _usual(rows: Sequence[CaseMetrics]) -> dict[str, tuple[float | None, float | None]]:
    """By structure, its median Dice where label or prediction hold it, and its median volume in labels, ml."""
    usual = {}
    for index, each in enumerate(rows[0].classes):
        held = [row.classes[index] for row in rows]
        dice = [one.dice for one in held if one.outcome not in UNTOLD]
        volumes = [one.reference_ml for one in held if one.outcome not in UNTOLD and one.reference_ml]
        usual[each.label] = (median(dice) if dice else None, median(volumes) if volumes else None)
    return usual


def _disagreement(metrics: ClassMetrics, usual_dice: float | None, usual_ml: float | None) -> Disagreement:
    excess = 0.0
    if metrics.outcome not in UNTOLD and usual_dice is not None:
        excess = usual_dice - metrics.dice
        if metrics.outcome != "found" and usual_ml:  # a stray voxel is no missing label
            excess *= min(1.0, max(metrics.prediction_ml, metrics.reference_ml) / usual_ml)
    return Disagreement(
        structure=metrics.label,
        outcome=metrics.outcome,
        dice=_finite(metrics.dice),
        usual_dice=usual_dice,
        excess=excess,
        label_ml=_finite(metrics.reference_ml),
        prediction_ml=metrics.prediction_ml,
        hd95_mm=_finite(metrics.hd95),
    )


def _order(each: Disagreement) -> tuple[float, float]:
    return -each.excess, -(each.hd95_mm or 0.0)


def _draw(
    ranked: Sequence[RankedCase],
    files: Mapping[str, Mapping[str, Any]],
    entries: Mapping[str, Entry],
    folder: Path,
    *,
    window: tuple[float, float] | None,
) -> list[RankedCase]:
    """With a picture each: image, prediction, label, where they differ most. Those of a former ranking go."""
    pictures = folder / "pictures"
    for old in (file for file in (visible(pictures) if pictures.is_dir() else []) if not is_kept(file)):
        keep_aside(old)
        old.unlink(missing_ok=True)
    drawn = []
    for each in ranked:
        case = files[each.case]
        predicted, referred, _ = read_pair(case["prediction"], case["label"], name=each.case)
        labels = [(), *entries.values()]  # of which (), the background, lists nothing
        maps = [label_indices(voxels, labels) for voxels in (predicted, referred)]
        names = list(entries)
        chosen = _confused(*maps, names.index(each.worst.structure) + 1)
        kept = [np.where(np.isin(voxels, chosen), voxels, 0) for voxels in maps]
        picture = write_overlays(
            case["image"], *kept, folder=pictures, labels={names[index - 1]: index for index in chosen},
            window=window, name=f"{each.rank:02d}_{each.case}",
        )  # fmt: skip
        note_written(picture)
        drawn.append(replace(each, picture=f"pictures/{picture.name}"))
    return drawn


def _confused(predicted: np.ndarray, referred: np.ndarray, index: int) -> list[int]:
    """The class, and those that the one map has where the other has it, if that is often."""
    wrong = (predicted != referred) & ((predicted == index) | (referred == index))
    others = np.bincount(np.concatenate([predicted[wrong], referred[wrong]]))
    often = CONFUSED * max(1, int(wrong.sum()))
    return [
        index,
        *(other for other, count in enumerate(others) if other not in (0, index) and count >= often),
    ]


def _json(ranked: Sequence[RankedCase]) -> str:
    content = {"schema_version": 1, "cases": [asdict(each) for each in ranked]}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(ranked: Sequence[RankedCase]) -> str:
    """A line per case, of its worst structure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["rank", "case", *asdict(ranked[0].worst), "picture"], lineterminator="\n")
    writer.writeheader()
    for each in ranked:
        row = {"rank": each.rank, "case": each.case, **asdict(each.worst), "picture": each.picture}
        writer.writerow({name: "" if cell is None else cell for name, cell in row.items()})
    return text.getvalue()


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
