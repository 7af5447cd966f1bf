"""Clicks in whole volumes, case by case: measured once, kept, and told as a table and files."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from pgsam_monai.base.files import write_text
from pgsam_monai.base.labels import known_classes
from pgsam_monai.base.volume import read_label
from pgsam_monai.evaluation.interaction.scores import OVERALL, kept_case
from pgsam_monai.evaluation.interaction.whole_volume import (
    GOALS,
    BrushAnswers,
    ClickedStructure,
    SegmenterAnswers,
    click_structure,
)
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.voxels.labels import label_indices

FORMAT = 1
BRUSH = "a ball painted instead"
HONESTY = (
    "A simulated user sees the largest error of a structure in the whole volume and clicks in its middle; 0 clicks are "
    "what the network finds by itself. The ball has the radius that just fits into that error, which no real user "
    "knows. Structures are corrected one by one, each from the start."
)


def measure_volumes(
    segmenter: Segmenter,
    cases: Sequence[Mapping[str, Any]],
    clicks: Sequence[int],
    *,
    folder: Path,
    stamp: Callable[[Mapping[str, Any]], str],
    say: Callable[[str], None] = print,
) -> list[ClickedStructure]:
    """Clicks on every structure of every case; each case is kept in `folder` and taken over by the next run.

    Args:
        segmenter: whose images they become, one after the other.
        cases: {"name", "image", "label"}, as of `data.splits.select_cases`.
        clicks: numbers that are asked for; the largest is given.
        folder: a file per case, made if missing.
        stamp: changes with everything that a case's numbers depend on.
        say: hears a line per case measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = [kept_case(folder / f"{case['name']}.json", stamp(case), _structures_in) for case in cases]
    done = sum(found is not None for found in kept)
    if done:
        say(f"Clicks in whole volumes: {done} of {len(cases)} cases are measured already.")
    for number, case in enumerate(cases):
        if kept[number] is None:
            begun = time.monotonic()
            found = measure_volume(segmenter, case, max(clicks))
            content = {"stamp": stamp(case), "structures": [asdict(one) for one in found]}
            write_text(folder / f"{case['name']}.json", json.dumps(content) + "\n")
            kept[number] = found
            own = [one for one in found if one.answers != BRUSH]
            say(f"{case['name']}: {_line(own, clicks)}, {time.monotonic() - begun:.0f} s")
    return [one for found in kept for one in found]


def measure_volume(segmenter: Segmenter, case: Mapping[str, Any], clicks: int) -> list[ClickedStructure]:
    """Each structure of one case that was looked for, by the segmenter and by a brush."""
    model = segmenter.model
    segmenter.set_image(case["image"])
    label = read_label(case["label"])
    looked_for = known_classes(model.values, case.get("labelled"))
    indices, spacing = label_indices(label.voxels[0], model.values), label.spacing
    found = []
    for index, name in enumerate(model.names, 1):
        target = indices == index
        if not (looked_for[index] and target.any()):
            continue
        segmenter.start_over()
        named = {"clicks": clicks, "case": str(case["name"]), "label": name}
        brush = BrushAnswers(segmenter.mask(name), spacing)
        found.append(click_structure(SegmenterAnswers(segmenter, name), target, spacing, **named))
        found.append(click_structure(brush, target, spacing, answers=BRUSH, **named))
    return found


def format_volumes(structures: Sequence[ClickedStructure], clicks: Sequence[int]) -> str:
    """Tables: Dice by number of clicks, how many are needed, how long they take, whether they are obeyed."""
    numbers = [0, *sorted(clicks)]
    lines = [_head("class", [str(number) for number in numbers], ["AUC"])]
    for answers in dict.fromkeys(one.answers for one in structures):
        own = [one for one in structures if one.answers == answers]
        rows = {label: [one for one in own if one.label == label] for label in _labels(own)}
        rows = rows if answers != BRUSH else {}
        for label, each in [*rows.items(), (answers if answers == BRUSH else OVERALL, own)]:
            dice = [mean_of(each, lambda one, at=number: one.dice[at]) for number in numbers]
            lines.append(_head(label, [f"{value:.3f}" for value in dice], [f"{mean_of(each, _area):.3f}"]))
    own = [one for one in structures if one.answers != BRUSH]
    first, later = (
        [each for one in own for each in one.seconds[part]] for part in (slice(1), slice(1, None))
    )
    needed = [f"{goal}: {_needed(own, goal)}" for goal in GOALS]
    given = sum(one.clicks for one in own)
    said = [
        "Dice after so many clicks in the whole volume, mean over structures",
        *lines,
        f"Clicks to Dice {'; '.join(needed)}",
        f"Seconds: first click {_middle(first)}, later ones {_middle(later)} (medians). "
        f"Obeyed by the last answer: {sum(one.obeyed for one in own)} of {given} clicks.",
    ]
    return "\n".join(said)


def write_volumes(
    structures: Sequence[ClickedStructure],
    clicks: Sequence[int],
    folder: Path,
    about: Mapping[str, Any],
) -> Path:
    """Write volume_clicks.csv, a row per structure and number of clicks, and volume_clicks.json; returns the first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "label", "answers", "clicks", "dice"])
    for one in structures:
        for number in (0, *sorted(clicks)):
            writer.writerow([one.case, one.label, one.answers, number, f"{one.dice[number]:.6f}"])
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "volume_clicks.csv", text.getvalue())
    content = {"prompts_from": HONESTY, **about, "structures": [asdict(one) for one in structures]}
    write_text(folder / "volume_clicks.json", json.dumps(content, indent=1) + "\n")
    return folder / "volume_clicks.csv"


def mean_of(structures: Sequence[ClickedStructure], value: Callable[[ClickedStructure], float]) -> float:
    """The mean over classes of each class's mean over cases."""
    return mean(mean(value(one) for one in structures if one.label == label) for label in _labels(structures))


def _area(one: ClickedStructure) -> float:
    return one.area


def _labels(structures: Sequence[ClickedStructure]) -> list[str]:
    return list(dict.fromkeys(one.label for one in structures))


def _needed(structures: Sequence[ClickedStructure], goal: float) -> str:
    counts = [one.needed(goal) for one in structures]
    reached = [count for count in counts if count is not None]
    middle = sorted(np.inf if count is None else count for count in counts)[(len(counts) - 1) // 2]
    told = f"{middle} (median)" if np.isfinite(middle) else "not by half of them"
    return f"{told}, reached by {len(reached)} of {len(counts)}"


def _middle(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f}" if seconds else "-"


def _head(first: str, numbers: Sequence[str], last: Sequence[str]) -> str:
    return f"{first:<28}" + "".join(f"{each:>8}" for each in (*numbers, *last))


def _line(structures: Sequence[ClickedStructure], clicks: Sequence[int]) -> str:
    if not structures:
        return "holds none of the classes"
    told = [
        f"{mean_of(structures, lambda one, at=at: one.dice[at]):.3f} ({at})"
        for at in (0, min(clicks), max(clicks))
    ]
    return f"Dice after so many clicks {', '.join(told)}"


def _structures_in(record: dict[str, Any]) -> list[ClickedStructure]:
    return [
        ClickedStructure(**{**one, "dice": tuple(one["dice"]), "seconds": tuple(one["seconds"])})
        for one in record["structures"]
    ]
