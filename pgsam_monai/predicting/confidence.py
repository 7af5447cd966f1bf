"""A bundle's `configs/confidence.json`: which Dice to expect where its network is so sure, and how far off that was.

Written by `evaluation.calibration` of predictions out of fold; a person may edit it, or delete it, and then nothing is
expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.json_files import DamagedFile, made_of, read_json
from pgsam_monai.base.labels import Entry, values_of
from pgsam_monai.base.training_facts import margin_share

FILE = "confidence.json"
REMEDY = (
    "delete it, and no Dice is expected, or calibrate again with pgsam train --folds all or pgsam ensemble"
)
CONSTANT, LINE, ISOTONIC = MAPS = ("constant", "line", "isotonic")
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
SCHEMA = {
    "required": ["schema_version", "labels", "calibrated_on", "structures"],
    "properties": {
        "schema_version": {"const": 1},
        "labels": {"type": "array"},
        "calibrated_on": {"type": "string"},
        "structures": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "map"],
                "properties": {
                    "name": {"type": "string"},
                    "map": {"enum": [*MAPS, None]},
                    "points": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "array", "items": SHARE, "minItems": 2, "maxItems": 2},
                    },
                    "error": SHARE,
                    "cases": {"type": "integer", "minimum": 1},
                    "why": {"type": "string"},
                },
            },
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of one structure."""

    map: str
    """one of `MAPS`; constant: how sure the network is tells nothing, the Dice is the usual one"""
    points: tuple[tuple[float, float], ...]
    """Soft Dice Confidence, rising -> expected Dice, not falling; straight between them, level beyond the ends"""
    error: float
    """mean |expected - true Dice| out of fold, of subjects that the map was not made of"""
    cases: int

    def __post_init__(self) -> None:
        sure, dice = np.array(self.points).T
        if (np.diff(sure) <= 0).any() or (np.diff(dice) < 0).any():
            raise ValueError("points must rise in confidence and not fall in Dice")

    def expect(self, soft_dice: float) -> float:
        """The expected Dice."""
        sure, dice = np.array(self.points).T
        return float(np.interp(soft_dice, sure, dice))

    def holds(self, soft_dice: float) -> bool:
        """Whether cases like it were calibrated on: not farther out of their range than `margin_share` of it."""
        low, high = self.points[0][0], self.points[-1][0]
        margin = margin_share(self.cases) * (high - low)
        return low - margin <= soft_dice <= high + margin


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """What is known of a bundle's structures, by foreground name."""

    calibrated_on: str = ""
    """which predictions, for people"""
    of: Mapping[str, Calibration] = field(default_factory=dict)
    untold: Mapping[str, str] = field(default_factory=dict)
    """why nothing is expected of the others"""

    def __str__(self) -> str:
        """A sentence or two: what expected Dice rests on."""
        if not self.calibrated_on:
            return (
                "No Dice is expected: the bundle's confidence was not calibrated. pgsam train --folds all does so, and "
                "pgsam ensemble where it chooses by cases out of fold."
            )
        usual = [name for name, each in self.of.items() if each.map == CONSTANT]
        told = f"Expected Dice is calibrated on {self.calibrated_on}."
        if usual:
            told += (
                f" Of {', '.join(usual)} it is the usual one: how sure the network is tells nothing there."
            )
        return told + (f" Nothing is expected of {', '.join(self.untold)}." if self.untold else "")

    def warnings(self, soft_dice: Mapping[str, float]) -> dict[str, str]:
        """By name, what was never calibrated on: networks are so sure of it, or so unsure, as of no case before."""
        told = {}
        for name, each in self.of.items():
            if name in soft_dice and not each.holds(soft_dice[name]):
                low, high = each.points[0][0], each.points[-1][0]
                told[name] = (
                    f"{name}: soft Dice {soft_dice[name]:.2f}; {low:.2f} to {high:.2f} out of fold, so that its "
                    "expected Dice is a guess"
                )
        return told


def read_confidence(file: str | Path, labels: Sequence[Entry]) -> Confidence:
    """The content of a confidence.json; nothing is expected where there is none.

    Args:
        file: it.
        labels: of the bundle, the background first.

    Raises:
        DamagedFile: it isn't what `SCHEMA` says, a map isn't monotone, or it was calibrated for other labels.
    """
    if not Path(file).is_file():
        return Confidence()
    content = read_json(file, remedy=REMEDY, schema=SCHEMA)
    if content["labels"] != [list(values_of(entry)) for entry in labels]:
        raise DamagedFile(file, "it was calibrated for other labels than the bundle's", REMEDY)
    return made_of(content, _confidence, file=file, remedy=REMEDY)


def _confidence(content: Mapping[str, Any]) -> Confidence:
    known = {entry["name"]: entry for entry in content["structures"] if entry["map"] is not None}
    return Confidence(
        calibrated_on=content["calibrated_on"],
        of={
            name: Calibration(
                map=entry["map"], points=tuple(map(tuple, entry["points"])), error=entry["error"],
                cases=entry["cases"],
            )
            for name, entry in known.items()
        },
        untold={e["name"]: e.get("why", "") for e in content["structures"] if e["name"] not in known},
    )  # fmt: skip
