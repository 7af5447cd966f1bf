"""A door by its name, opened for one case; and what it answers, compared with Python's answers to the same clicks."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from prompting.sets import MeasuredSet

from doors.click_door import ClickAnswers, click_server, orientation_of
from doors.label_door import TRAINER, LabelAnswers, copy_studies, label_server
from pgsam_monai.evaluation.interaction.users import Correction
from pgsam_monai.evaluation.interaction.whole_volume import Clickable

PYTHON, LABEL, CLICK = DOORS = ("python", "label", "click")


@contextmanager
def opened(
    door: str, measured: MeasuredSet, weights: str, case: Mapping[str, str], *, threads: int | None = None
) -> Iterator[Callable[[str], Clickable]]:
    """Who answers about a structure of a case, by the structure's name.

    Args:
        door: `LABEL` or `CLICK`.
        measured: says how images enter the network, which servers are told at their start.
        weights: names of `pgsam weights list`; `LABEL` knows drawn_tiny alone.
        case: with its name and image.
        threads: of the server.
    """
    told = {"window": measured.window, "plane": measured.plane, "threads": threads}
    with tempfile.TemporaryDirectory() as scratch:
        work, image = Path(scratch), case["image"]
        if door == CLICK:
            with click_server(weights, orientation_of(image), work, **told) as address:
                answers = ClickAnswers(address, image)
                yield lambda name: answers
            return
        if weights != TRAINER:
            sys.exit(f"pgsam label serves {TRAINER} where there is no bundle, not {weights}.")
        studies, shape = copy_studies([case], work / "studies"), nib.load(image).shape
        with label_server(studies, list(measured.structures), work, **told) as address:
            yield lambda name: LabelAnswers(address, case["name"], name, shape, work, client="user")


class Recorded:
    """A `Clickable`, and what it answered to each click."""

    def __init__(self, clickable: Clickable) -> None:
        self._clickable = clickable
        self._steps: list[tuple[Correction, np.ndarray]] = []

    def start_over(self) -> None:
        self._clickable.start_over()
        self._steps.clear()

    def click(self, click: Correction) -> None:
        self._clickable.click(click)
        self._steps.append((click, self._clickable.mask().copy()))

    def mask(self) -> np.ndarray:
        return self._clickable.mask()

    def differing(self, other: Clickable) -> int:
        """Voxels that somebody else shows otherwise after the same clicks, counted after each and summed."""
        other.start_over()
        count = 0
        for click, mask in self._steps:
            other.click(click)
            count += int(np.count_nonzero(other.mask() != mask))
        return count
