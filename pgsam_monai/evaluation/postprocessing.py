"""Post-processing chosen from mistakes: what would have made predictions out of fold better, structure by structure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import Paths
from pgsam_monai.base.cleaning import Cleaning
from pgsam_monai.base.cores import usable_cores
from pgsam_monai.base.files import write_text
from pgsam_monai.base.labels import Entry, known_classes, values_of
from pgsam_monai.bundle import Bundle
from pgsam_monai.metrics import dice_of_masks
from pgsam_monai.metrics.files import read_pair
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.voxels.cleaning import around, clean

LEAST_GAIN = 0.001
"""of the mean Dice: less is not worth a rule"""
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
MOST_WORKERS = 4
"""threads, each with a volume and its label in memory"""
CANDIDATES = tuple(Cleaning(pieces=share, fill=fill) for fill in (False, True) for share in SHARES)
"""from the mildest on: of equals the first is taken"""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for one structure."""

    name: str
    value: int
    cleaning: Cleaning
    cases: int
    """that define a Dice"""
    before: float
    """mean Dice of these cases as predicted, NaN without any"""
    after: float
    """with all structures' choices done"""

    @property
    def gain(self) -> float:
        return self.after - self.before

    def __str__(self) -> str:
        told = f"{self.name}: {self.cleaning}"
        return f"{told}, Dice {self.before:.4f} -> {self.after:.4f} ({self.gain:+.4f}, {self.cases} cases)"


def choose_cleanings(
    pairs: Sequence[tuple[Paths, Paths]], *, labels: Mapping[str, Entry], background: int = 0,
    unknown: Sequence[Collection[str]] | None = None,
) -> list[Choice]:  # fmt: skip
    """The cleaning of each structure whose mean Dice gains most, where it gains `LEAST_GAIN`; else none.

    A case counts for a structure where prediction or reference holds it. Structures are chosen one by one; then all
    that was chosen is done together, and what doesn't gain then is given up. The gain is of the cases that chose, and
    so a little flattered.

    Args:
        pairs: files of predictions that nothing was done to, and of references.
        labels: foreground names -> values in the files.
        background: the value of predictions' background.
        unknown: of each case, the structures that nobody looked for in its reference.
    """
    names = list(labels)
    known = np.array(
        [[name not in case for name in names] for case in unknown or [()] * len(pairs)]
    )  # (N, K)
    alone = partial(_dice_alone, labels=labels, background=background)
    means = _means(of_cases(alone, pairs), known)  # (K, candidates)
    best = [int(np.argmax(np.nan_to_num(row))) for row in means]
    chosen = {
        name: CANDIDATES[place]
        for name, row, place in zip(names, means, best, strict=True)
        if row[place] - row[0] >= LEAST_GAIN
    }
    while True:
        together = of_cases(
            partial(_dice_together, labels=labels, background=background, chosen=chosen), pairs
        )
        after = dict(zip(names, _means(together, known)[:, 0], strict=True))
        before = dict(zip(names, means[:, 0], strict=True))
        lost = [name for name in chosen if not after[name] - before[name] >= LEAST_GAIN]
        if not lost:
            break
        chosen = {name: cleaning for name, cleaning in chosen.items() if name not in lost}
    cases = dict(zip(names, (known & np.isfinite(together[:, :, 0])).sum(axis=0), strict=True))
    return [
        Choice(
            name=name, value=values_of(labels[name])[0], cleaning=chosen.get(name, Cleaning()), cases=int(cases[name]),
            before=float(before[name]), after=float(after[name]),
        )
        for name in names
    ]  # fmt: skip


def choose_for_bundle(
    bundle: Bundle,
    cases: Sequence[Mapping[str, Any]],
    predictions: Path,
    *,
    file: Path,
    say: Callable[[str], None],
) -> Path:
    """Choose a bundle's cleanings on predictions out of fold, and write them; returns the file.

    Args:
        bundle: whose structures they are.
        cases: [{"name", "label", ("labelled")}], all of them predicted.
        predictions: folder of the label maps, to which nothing was done.
        file: the postprocessing.json that is written.
        say: hears what was chosen and what each structure gains.
    """
    names, entries = bundle.names, bundle.decisions["labels"]
    known = [known_classes(entries, case.get("labelled")) for case in cases]
    choices = choose_cleanings(
        [(prediction_file(predictions, case["name"]), case["label"]) for case in cases],
        labels=dict(zip(names[1:], entries[1:], strict=True)), background=bundle.background,
        unknown=[{name for name, looked_for in zip(names, each, strict=True) if not looked_for} for each in known],
    )  # fmt: skip
    labels = bundle.config("train.json")["labels"]
    write_cleanings(choices, file, labels=labels, chosen_on=f"{len(cases)} cases out of fold")
    say("Post-processing, chosen out of fold (on the same cases, so gains are a little flattered):")
    for choice in choices:
        say(str(choice))
    return file


def write_cleanings(
    choices: Sequence[Choice], file: Path, *, labels: Sequence[Entry], chosen_on: str
) -> None:
    """Write a bundle's postprocessing.json.

    Args:
        choices: of all its structures.
        file: where.
        labels: of the bundle, the background first.
        chosen_on: which predictions chose, for people.
    """
    structures = [
        {
            "name": choice.name, "value": choice.value, "pieces": choice.cleaning.pieces, "fill": choice.cleaning.fill,
            "dice_before": _number(choice.before), "dice_after": _number(choice.after), "gain": _number(choice.gain),
            "cases": choice.cases,
        }
        for choice in choices
    ]  # fmt: skip
    content = {
        "schema_version": 1, "chosen_on": chosen_on, "labels": [list(values_of(entry)) for entry in labels],
        "structures": structures,
    }  # fmt: skip
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def of_cases(
    measure: Callable[[tuple[Paths, Paths]], np.ndarray], pairs: Sequence[tuple[Paths, Paths]]
) -> np.ndarray:
    """(N, K, M) what `measure` gives for each case."""
    with ThreadPoolExecutor(min(usable_cores(), MOST_WORKERS)) as pool:
        return np.array(list(pool.map(measure, pairs)))


def _means(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(K, M) means of (N, K, M) over the `known` (N, K) cases that have a value; NaN where none has."""
    valid = np.isfinite(values) & known[..., None]
    total, count = np.where(valid, values, 0.0).sum(axis=0), valid.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _dice_alone(pair: tuple[Paths, Paths], *, labels: Mapping[str, Entry], background: int) -> np.ndarray:
    """(K, candidates) Dice of one case, each structure cleaned alone."""
    prediction, reference, _ = read_pair(*pair)
    rows = []
    for entry in labels.values():
        value, true = values_of(entry)[0], np.isin(reference, values_of(entry))
        box, total = around(prediction == value), int(true.sum())
        cleaned = (clean(prediction[box], {value: candidate}, background) for candidate in CANDIDATES)
        rows.append([dice_of_masks(found == value, true[box], total) for found in cleaned])
    return np.array(rows)


def _dice_together(
    pair: tuple[Paths, Paths], *, labels: Mapping[str, Entry], background: int, chosen: Mapping[str, Cleaning]
) -> np.ndarray:
    """(K, 1) Dice of one case with all that was chosen."""
    prediction, reference, _ = read_pair(*pair)
    values = {name: values_of(entry)[0] for name, entry in labels.items()}
    cleaned = clean(prediction, {values[name]: cleaning for name, cleaning in chosen.items()}, background)
    true = {name: np.isin(reference, values_of(entry)) for name, entry in labels.items()}
    return np.array([[dice_of_masks(cleaned == values[name], true[name])] for name in labels])
