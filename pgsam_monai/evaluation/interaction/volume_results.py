"""Files and tables of clicks in whole volumes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pgsam_monai.base.files import write_text
from pgsam_monai.evaluation.interaction.scores import OVERALL
from pgsam_monai.evaluation.interaction.volume_cases import BRUSH, VolumeSettings, ways_in
from pgsam_monai.evaluation.interaction.whole_volume import (
    GOALS,
    ClickedStructure,
    labels_of,
    mean_of,
)

HONESTY = (
    "A simulated user sees the largest error of a structure in the whole volume and clicks in its middle; 0 clicks are "
    "what the network finds by itself. The ball has the radius that just fits into that error, which no real user "
    "knows. Structures are corrected one by one, each from the start."
)


def format_volumes(structures: Sequence[ClickedStructure], settings: VolumeSettings) -> str:
    """Tables: Dice and surface Dice by number of clicks, how many are needed, how long they take, whether they are
    obeyed; of each way that clicks go."""
    head = _row("class", [str(number) for number in settings.reported], "AUC")
    ways = {answers: _own(structures, answers) for answers in ways_in(structures)}
    return "\n".join(
        [
            "Dice after so many clicks in the whole volume, mean over structures",
            head,
            *_by_class(structures, settings, "dice"),
            f"Surface Dice at {settings.tolerance_mm:g} mm",
            head.removesuffix("AUC").rstrip(),
            *_by_class(structures, settings, "nsd"),
            *(line for answers, own in ways.items() for line in _needs(answers, own)),
        ]
    )


def write_volumes(
    structures: Sequence[ClickedStructure],
    settings: VolumeSettings,
    folder: Path,
    about: Mapping[str, Any],
) -> Path:
    """Write volume_clicks.csv, a row per structure and number of clicks, and volume_clicks.json; returns the first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "label", "answers", "clicks", "dice", "nsd"])
    for one in structures:
        for number in settings.reported:
            scores = (f"{one.dice[number]:.6f}", f"{one.nsd[number]:.6f}")
            writer.writerow([one.case, one.label, one.answers, number, *scores])
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "volume_clicks.csv", text.getvalue())
    content = {
        "prompts_from": HONESTY, **about, "tolerance_mm": settings.tolerance_mm,
        "structures": [asdict(one) for one in structures],
    }  # fmt: skip
    write_text(folder / "volume_clicks.json", json.dumps(content, indent=1) + "\n")
    return folder / "volume_clicks.csv"


def _by_class(structures: Sequence[ClickedStructure], settings: VolumeSettings, metric: str) -> list[str]:
    """Rows of each way, under its name where there are several; then the brush's mean alone."""
    ways, lines = ways_in(structures), []

    def row(title: str, some: Sequence[ClickedStructure]) -> str:
        at = [mean_of(some, lambda one, at=at: getattr(one, metric)[at]) for at in settings.reported]
        area = f"{mean_of(some, _area):.3f}" if metric == "dice" else ""
        return _row(title, [f"{value:.3f}" for value in at], area)

    for answers in ways:
        own = _own(structures, answers)
        lines += [answers] if len(ways) > 1 else []
        lines += [row(label, [one for one in own if one.label == label]) for label in labels_of(own)]
        lines.append(row(OVERALL, own))
    return [*lines, row(BRUSH, _own(structures, BRUSH))]


def _needs(answers: str, own: Sequence[ClickedStructure]) -> list[str]:
    first, later = (
        [each for one in own for each in one.seconds[part]] for part in (slice(1), slice(1, None))
    )
    needed = [f"{goal}: {_needed(own, goal)}" for goal in GOALS]
    obeyed, given = sum(one.obeyed for one in own), sum(one.clicks for one in own)
    return [
        f"{answers[0].upper()}{answers[1:]}: clicks to Dice {'; '.join(needed)}",
        f"Seconds: first click {_middle(first)}, later ones {_middle(later)} (medians). "
        f"Obeyed by the last answer: {obeyed} of {given} clicks.",
    ]


def _needed(structures: Sequence[ClickedStructure], goal: float) -> str:
    counts = [one.needed(goal) for one in structures]
    reached = [count for count in counts if count is not None]
    middle = sorted(np.inf if count is None else count for count in counts)[(len(counts) - 1) // 2]
    told = f"{middle} (median)" if np.isfinite(middle) else "not by half of them"
    return f"{told}, reached by {len(reached)} of {len(counts)}"


def _own(structures: Sequence[ClickedStructure], answers: str) -> list[ClickedStructure]:
    return [one for one in structures if one.answers == answers]


def _area(one: ClickedStructure) -> float:
    return one.area


def _middle(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f}" if seconds else "-"


def _row(first: str, numbers: Sequence[str], last: str) -> str:
    return (f"{first:<28}" + "".join(f"{each:>8}" for each in (*numbers, last))).rstrip()
