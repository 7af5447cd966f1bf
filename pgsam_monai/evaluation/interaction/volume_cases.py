"""Clicks in whole volumes, case by case: measured once, and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.files import write_text
from pgsam_monai.base.labels import known_classes
from pgsam_monai.base.volume import read_label
from pgsam_monai.evaluation.interaction.scores import kept_case
from pgsam_monai.evaluation.interaction.whole_volume import (
    BrushAnswers,
    ClickedStructure,
    SegmenterAnswers,
    click_structure,
    mean_of,
)
from pgsam_monai.interactive.chosen_way import ASKING, SPREADING
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.voxels.labels import label_indices

FORMAT = 2
"""of the kept files: 2 has the surface Dice, and the ways that clicks go"""
ANSWERS = {SPREADING: "clicks that spread", ASKING: "clicks that ask anew"}
"""What results call the ways that clicks go."""
BRUSH = "a ball painted instead"


@dataclass(frozen=True, kw_only=True)
class VolumeSettings:
    """What is measured."""

    clicks: tuple[int, ...]
    """after how many clicks; the largest number is given"""
    tolerance_mm: float
    """of the normalised surface Dice"""

    @property
    def reported(self) -> list[int]:
        """Numbers of clicks, rising, none the first."""
        return [0, *sorted(self.clicks)]


def measure_volumes(
    segmenters: Mapping[str, Segmenter],
    cases: Sequence[Mapping[str, Any]],
    settings: VolumeSettings,
    *,
    folder: Path,
    stamp: Callable[[Mapping[str, Any]], str],
    say: Callable[[str], None] = print,
) -> list[ClickedStructure]:
    """Clicks on every structure of every case; each case is kept in `folder` and taken over by the next run.

    Args:
        segmenters: what they are called -> whose images the cases become, one after the other.
        cases: {"name", "image", "label"}, as of `data.splits.select_cases`.
        settings: what is measured.
        folder: a file per case, made if missing.
        stamp: changes with everything that a case's numbers depend on.
        say: hears a line per case measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamps = [stamp(case) for case in cases]
    kept = [
        kept_case(folder / f"{case['name']}.json", stamp, _structures_in)
        for case, stamp in zip(cases, stamps, strict=True)
    ]
    done = sum(found is not None for found in kept)
    if done:
        say(f"Clicks in whole volumes: {done} of {len(cases)} cases are measured already.")
    for number, case in enumerate(cases):
        if kept[number] is None:
            begun = time.monotonic()
            found = measure_volume(segmenters, case, settings)
            content = {"stamp": stamps[number], "structures": [asdict(one) for one in found]}
            write_text(folder / f"{case['name']}.json", json.dumps(content) + "\n")
            kept[number] = found
            say(f"{case['name']}: {_line(found, settings)}, {time.monotonic() - begun:.0f} s")
    return [one for found in kept for one in found]


def measure_volume(
    segmenters: Mapping[str, Segmenter], case: Mapping[str, Any], settings: VolumeSettings
) -> list[ClickedStructure]:
    """Each structure of one case that was looked for, by each segmenter, and by a brush that begins as the first."""
    label, found = read_label(case["label"]), []
    for answers, segmenter in segmenters.items():
        model = segmenter.model
        segmenter.set_image(case["image"])
        indices = label_indices(label.voxels[0], model.values)
        looked_for = known_classes(model.values, case.get("labelled"))
        for index, name in enumerate(model.names, 1):
            target = indices == index
            if not (looked_for[index] and target.any()):
                continue
            clickables = {answers: SegmenterAnswers(segmenter, name)}
            if segmenter is next(iter(segmenters.values())):
                segmenter.start_over()
                clickables[BRUSH] = BrushAnswers(segmenter.mask(name), label.spacing)
            found += [
                click_structure(
                    clickable, target, label.spacing, clicks=max(settings.clicks), case=str(case["name"]), label=name,
                    answers=called, nsd_after=settings.reported, tolerance_mm=settings.tolerance_mm,
                )
                for called, clickable in clickables.items()
            ]  # fmt: skip
    return found


def _line(structures: Sequence[ClickedStructure], settings: VolumeSettings) -> str:
    """A case's mean Dice in one line, by each way that clicks go."""
    if not structures:
        return "holds none of the classes"
    told = []
    for answers in ways_in(structures):
        own = [one for one in structures if one.answers == answers]
        dice = [
            f"{mean_of(own, lambda one, at=at: one.dice[at]):.3f} ({at})"
            for at in (0, min(settings.clicks), max(settings.clicks))
        ]
        told.append(f"{answers}: {', '.join(dice)}")
    return f"Dice after so many {'; '.join(told)}"


def ways_in(structures: Sequence[ClickedStructure]) -> list[str]:
    """Who answered, but for the brush, in the order in which they came."""
    return [answers for answers in dict.fromkeys(one.answers for one in structures) if answers != BRUSH]


def _structures_in(record: dict[str, Any]) -> list[ClickedStructure]:
    return [
        ClickedStructure(
            **{
                **one,
                "dice": tuple(one["dice"]),
                "seconds": tuple(one["seconds"]),
                "nsd": {int(number): value for number, value in one["nsd"].items()},
            }
        )
        for one in record["structures"]
    ]
