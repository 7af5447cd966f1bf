"""Expected Dice: how sure networks were of cases that they didn't see, held against the Dice that they came to.

Per structure a monotone map from Soft Dice Confidence (`inference.confidence`) to Dice, the one whose error is least on
subjects that it wasn't made of. What can't be told from the cases isn't.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pgsam_monai.base.cases import Paths
from pgsam_monai.base.cleaning import Cleaning, read_cleanings
from pgsam_monai.base.files import write_text
from pgsam_monai.base.labels import Entry, known_classes, values_of
from pgsam_monai.bundle import Bundle
from pgsam_monai.evaluation.postprocessing import of_cases
from pgsam_monai.metrics import dice_of_masks
from pgsam_monai.metrics.files import read_pair
from pgsam_monai.predicting.confidence import CONSTANT, ISOTONIC, LINE, Calibration
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.voxels.cleaning import clean

LEAST_SUBJECTS = 10
"""with fewer, the error that 9 in 10 cases keep to is none but the largest, and a line through them is each one's"""
LEAST_ISOTONIC = 50
"""subjects: with fewer, isotonic steps follow single cases"""
BY_CHANCE = 1.645
"""over √(N - 1): the rank correlation that N unrelated subjects exceed 1 time in 20; without this test noise alone made
a line better than the constant in 4 of 10 draws"""
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What the cases tell of one structure."""

    name: str
    value: int
    cases: int
    """in whose predictions it is"""
    subjects: int
    rank_correlation: float | None
    """Spearman's, of Soft Dice Confidence and Dice over the cases; None where either is constant"""
    calibration: Calibration | None
    """None of too few subjects"""
    error_90: float | None
    """what the error of nine in ten cases does not exceed, of subjects left out; None likewise"""
    usual_error: float | None
    """the mean error of expecting the usual (median) Dice, likewise"""

    @property
    def why(self) -> str:
        """Why nothing is expected of it."""
        return f"found in {self.subjects} subjects only, at least {LEAST_SUBJECTS} are needed"

    def __str__(self) -> str:
        """A row of `table`."""
        if self.calibration is None:
            return f"{self.name}: nothing, {self.why}"
        rank = "-" if self.rank_correlation is None else f"{self.rank_correlation:+.2f}"
        told = {CONSTANT: "the usual Dice, sureness tells nothing"}.get(
            self.calibration.map, self.calibration.map
        )
        return (
            f"{self.name}: {told}, error {self.calibration.error:.3f} (9 in 10 within {self.error_90:.3f}; usual Dice "
            f"{self.usual_error:.3f}), rank correlation {rank}, {self.cases} cases"
        )


def calibrate_for_bundle(
    bundle: Bundle, cases: Sequence[Mapping[str, Any]], predictions: Path, sure: Mapping[str, Mapping[str, float]], *,
    cleaning: Path, file: Path, say: Callable[[str], None],
) -> Path:  # fmt: skip
    """Calibrate which Dice to expect on predictions out of fold, cleaned as the bundle's are, and write it.

    Args:
        bundle: whose structures they are.
        cases: [{"name", "label", ("labelled", "subject")}], all of them predicted.
        predictions: folder of the label maps, to which nothing was done.
        sure: case -> structure -> Soft Dice Confidence of what was found.
        cleaning: the postprocessing.json of what is done to the bundle's predictions.
        file: the confidence.json that is written.
        say: hears a line per structure, or that nothing can be calibrated.

    Returns:
        the file.
    """
    entries = bundle.decisions["labels"]
    labels = dict(zip(bundle.names[1:], entries[1:], strict=True))
    cleanings = read_cleanings(cleaning, entries)
    measure = partial(dice_of_found, labels=labels, background=bundle.background, cleanings=cleanings)
    dice = of_cases(measure, [(prediction_file(predictions, case["name"]), case["label"]) for case in cases])
    known = [known_classes(entries, case.get("labelled"))[1:] for case in cases]
    soft_dice = [[sure.get(case["name"], {}).get(name, np.nan) for name in labels] for case in cases]
    subjects = [case.get("subject", case["name"]) for case in cases]
    structures = calibrate(
        np.array(soft_dice), np.where(known, dice, np.nan), labels=labels, subjects=subjects
    )
    on = f"{len(cases)} cases of {len(set(subjects))} subjects out of fold"
    write_calibration(structures, file, labels=entries, calibrated_on=on)
    if any(each.calibration for each in structures):
        say("Expected Dice, calibrated out of fold (errors are of subjects left out):")
        for each in structures:
            say(str(each))
    else:
        say(
            f"No Dice is expected of predictions: on {on}, no structure was found in the {LEAST_SUBJECTS} subjects "
            "that it takes to calibrate one."
        )
    return file


def calibrate(
    soft_dice: np.ndarray, dice: np.ndarray, *, labels: Mapping[str, Entry], subjects: Sequence[str]
) -> list[Calibrated]:
    """Calibrate each structure on the cases that have both numbers.

    Args:
        soft_dice: (N, K) of N cases out of fold, NaN where a structure wasn't found.
        dice: (N, K) true ones, NaN where not known, or not found.
        labels: K foreground names -> values in the files.
        subjects: (N) of the cases.
    """
    every, found = np.array(subjects), []
    for place, (name, entry) in enumerate(labels.items()):
        known = np.isfinite(soft_dice[:, place]) & np.isfinite(dice[:, place])
        x, y, of = soft_dice[known, place], dice[known, place], every[known]
        rank = rank_correlation(x, y)
        one = {
            "name": name, "value": values_of(entry)[0], "cases": len(x), "subjects": len(set(of)),
            "rank_correlation": rank if np.isfinite(rank) else None,
        }  # fmt: skip
        if len(set(of)) < LEAST_SUBJECTS:
            found.append(Calibrated(**one, calibration=None, error_90=None, usual_error=None))
            continue
        kind, errors, usual = choose_map(x, y, of)
        calibration = Calibration(map=kind, points=MAPS[kind](x, y), error=float(errors.mean()), cases=len(x))
        ninth = float(np.quantile(errors, 0.9, method="higher"))
        found.append(
            Calibrated(**one, calibration=calibration, error_90=ninth, usual_error=float(usual.mean()))
        )
    return found


def choose_map(x: np.ndarray, y: np.ndarray, subjects: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """The map with the least mean error, each subject left out once; the constant where confidence and Dice may well be
    unrelated.

    Args:
        x, y, subjects: (N) confidence, Dice, and whom the cases show, two subjects at least.

    Returns:
        its kind, the cases' errors (N) by it, and by the constant.
    """
    number = len(set(subjects))
    related = rank_correlation(x, y) > BY_CHANCE / math.sqrt(number - 1)
    kinds = [
        CONSTANT,
        *([LINE] if related else []),
        *([ISOTONIC] if related and number >= LEAST_ISOTONIC else []),
    ]
    errors = {kind: left_out_errors(MAPS[kind], x, y, subjects) for kind in kinds}
    best = min(kinds, key=lambda kind: errors[kind].mean())  # the simpler of equals
    return best, errors[best], errors[CONSTANT]


def left_out_errors(
    fit: Callable[[np.ndarray, np.ndarray], Points], x: np.ndarray, y: np.ndarray, subjects: np.ndarray
) -> np.ndarray:
    """(N) |expected - true Dice| of each case by the map of the other subjects' cases."""
    errors = np.empty(len(x))
    for subject in set(subjects):
        out = subjects == subject
        sure, dice = np.array(fit(x[~out], y[~out])).T
        errors[out] = np.abs(np.interp(x[out], sure, dice) - y[out])
    return errors


def fit_constant(x: np.ndarray, y: np.ndarray) -> Points:
    """The median, whose mean error is least of all constants."""
    return _points([x.min(), x.max()], [np.median(y)] * 2)


def fit_line(x: np.ndarray, y: np.ndarray) -> Points:
    """The least squares line, which doesn't fall, within 0 and 1."""
    spread = x - x.mean()
    square = float(spread @ spread)
    slope = max(0.0, float(spread @ y) / square) if square > 0 else 0.0
    start = float(y.mean() - slope * x.mean())
    bends = [(end - start) / slope for end in (0, 1)] if slope > 0 else []
    at = sorted({float(x.min()), float(x.max()), *(bend for bend in bends if x.min() < bend < x.max())})
    return _points(at, [start + slope * each for each in at])


def fit_isotonic(x: np.ndarray, y: np.ndarray) -> Points:
    """Isotonic regression by pooling adjacent violators (Barlow et al., 1972), straight between its steps."""
    at, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    steps: list[tuple[float, int, float, float]] = []  # mean, cases, first, last
    for each, mean, count in zip(at, np.bincount(place, y) / counts, counts, strict=True):
        step = (float(mean), int(count), float(each), float(each))
        while steps and steps[-1][0] >= step[0]:
            before = steps.pop()
            number = before[1] + step[1]
            step = ((before[0] * before[1] + step[0] * step[1]) / number, number, before[2], step[3])
        steps.append(step)
    ends = sorted({(at, mean) for mean, _, first, last in steps for at in (first, last)})
    return _points([at for at, _ in ends], [mean for _, mean in ends])


MAPS = {CONSTANT: fit_constant, LINE: fit_line, ISOTONIC: fit_isotonic}
"""from the simplest on"""


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; NaN of fewer than three cases, or where either is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def dice_of_found(
    pair: tuple[Paths, Paths],
    *,
    labels: Mapping[str, Entry],
    background: int,
    cleanings: Mapping[int, Cleaning],
) -> np.ndarray:
    """(K,) Dice of one case, cleaned as predictions are; NaN of what isn't in its prediction.

    Args:
        pair: files of the prediction and of the reference.
        labels: K foreground names -> values in the files.
        background: the value of predictions' background.
        cleanings: value -> what is done to it.
    """
    prediction, reference, _ = read_pair(*pair)
    cleaned = clean(prediction, cleanings, background)
    found = np.full(len(labels), np.nan)
    for place, entry in enumerate(labels.values()):
        mine, true = cleaned == values_of(entry)[0], np.isin(reference, values_of(entry))
        if mine.any():
            found[place] = dice_of_masks(mine, true)
    return found


def write_calibration(
    structures: Sequence[Calibrated], file: Path, *, labels: Sequence[Entry], calibrated_on: str
) -> Path:
    """Write a bundle's confidence.json.

    Args:
        structures: all of its structures.
        file: where.
        labels: of the bundle, the background first.
        calibrated_on: which predictions, for people.
    """
    entries = []
    for each in structures:
        about = {
            "cases": each.cases,
            "subjects": each.subjects,
            "rank_correlation": _short(each.rank_correlation),
        }
        if each.calibration is None:
            told = {"map": None, "why": each.why} | {k: v for k, v in about.items() if k != "cases"}
        else:
            told = {
                "map": each.calibration.map, "points": each.calibration.points,
                "error": _short(each.calibration.error), "error_of_9_in_10": _short(each.error_90),
                "error_of_usual_dice": _short(each.usual_error), **about,
            }  # fmt: skip
        entries.append({"name": each.name, "value": each.value, **told})
    content = {
        "schema_version": 1, "calibrated_on": calibrated_on, "labels": [list(values_of(entry)) for entry in labels],
    }  # fmt: skip
    head = ",\n ".join(f'"{name}": {json.dumps(value)}' for name, value in content.items())
    lines = ",\n".join("  " + json.dumps(entry, allow_nan=False) for entry in entries)
    return write_text(file, f'{{\n {head},\n "structures": [\n{lines}\n ]\n}}\n')


def _points(at: Sequence[float], dice: Sequence[float]) -> Points:
    """To six digits, within 0 and 1; of equal confidences the first."""
    found: dict[float, float] = {}
    for x, y in zip(at, np.clip(dice, 0, 1), strict=True):
        found.setdefault(min(1.0, float(f"{x:.6g}")), float(f"{y:.6g}"))
    return tuple(found.items())


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
