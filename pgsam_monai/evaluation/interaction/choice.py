"""Which of two ways clicks go in a bundle: the one with which simulated users got further, on validation cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.base.replacing import backup_name
from pgsam_monai.base.trained_on import trained_on
from pgsam_monai.bundle import Bundle
from pgsam_monai.evaluation.interaction.volume_cases import ANSWERS
from pgsam_monai.evaluation.interaction.whole_volume import ClickedStructure, mean_of
from pgsam_monai.interactive.chosen_way import FILE, chosen_way

VALIDATION = "validation"
HARMLESS = ("part", "fold", "device", "dataset_dir", "output_dir", "tolerance_mm", "allow_trained")
"""Overrides with which the network that is measured stays the bundle's, and so do its cases, wherever they lie."""
FLATTERED = "both ways were measured on the cases that chose, so the better figure is a little flattered"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Of a way that clicks go."""

    corrections: str
    """one of `chosen_way.CORRECTIONS`"""
    auc: Mapping[str, float]
    """of each of them: mean area under Dice over the numbers of clicks"""

    def __str__(self) -> str:
        figures = ", ".join(f"{ANSWERS[way]} {area:.3f}" for way, area in self.auc.items())
        return f"{ANSWERS[self.corrections]} (mean AUC: {figures})"


def choose(structures: Sequence[ClickedStructure]) -> Choice:
    """The way with the larger mean AUC; of equals the first of `ANSWERS`. Both must have been measured."""
    auc = {
        way: mean_of([one for one in structures if one.answers == answers], lambda one: one.area)
        for way, answers in ANSWERS.items()
    }
    return Choice(corrections=max(auc, key=auc.get), auc=auc)


def why_not(bundle: Bundle, names: Sequence[str], overrides: Collection[str]) -> str | None:
    """Why a measurement must not choose for the bundle; None if it may.

    Args:
        bundle: as it was measured.
        names: of the cases.
        overrides: names of its configs' values that were others while measuring.
    """
    part, others = bundle.content("part"), sorted(set(overrides) - set(HARMLESS))
    if part != VALIDATION:
        return f"these are {part} cases, and {VALIDATION} cases choose"
    if others:
        return (
            f"{', '.join(f'--{name}' for name in others)} made it another measurement than the bundle's own"
        )
    seen = trained_on(bundle.model_file, names)
    if seen is None:
        return f"'{bundle.model_file}' doesn't say which cases it was trained on"
    return f"it was trained on {len(seen)} of these {len(names)} cases" if seen else None


def choose_for_bundle(
    bundle: Bundle,
    structures: Sequence[ClickedStructure],
    *,
    names: Sequence[str],
    about: Mapping[str, Any],
    overrides: Collection[str],
    say: Callable[[str], None],
) -> Path | None:
    """Write the better way to the bundle, where this measurement may choose; returns the file.

    Args:
        bundle: as it was measured.
        structures: on which both ways were measured.
        names: of the cases.
        about: what else the file tells.
        overrides: see `why_not`.
        say: hears what was chosen, or why nothing was.
    """
    choice, why = choose(structures), why_not(bundle, names, overrides)
    if why is not None:
        say(f"Better: {choice}. Not written to the bundle: {why}.")
        return None
    file = bundle.config_file(FILE)
    _put_aside(bundle, choice, say)
    cases = "case" if len(names) == 1 else "cases"
    content = {
        "schema_version": 1, "corrections": choice.corrections, "auc": dict(choice.auc),
        "chosen_on": f"{len(names)} {VALIDATION} {cases} of fold {bundle.content('fold')}; {FLATTERED}", **about,
        "cases": list(names), "date": datetime.now(timezone.utc).date().isoformat(),
    }  # fmt: skip
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")
    say(f"Chosen for this bundle: {choice}; {FLATTERED}. It is in '{file}', which you may edit or delete.")
    return file


def _put_aside(bundle: Bundle, choice: Choice, say: Callable[[str], None]) -> None:
    """A file that says otherwise, as a person may have written, is kept beside the new one."""
    file = bundle.config_file(FILE)
    if not file.exists():
        return
    try:
        if chosen_way(bundle) == choice.corrections:
            return
    except DamagedFile:
        pass  # kept as well: there may be something in it that a person wants back
    kept = backup_name(file)
    file.rename(kept)
    say(f"'{file}' said otherwise; it is kept as '{kept.name}'.")
