"""summary.json and summary.csv of a folder of predictions: what made each, what is in it, and what of it is unusual.

Written whole after every case, so that a killed run has told what it did. Runs share them: cases that are predicted
again are replaced, the others stay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pgsam_monai import __version__
from pgsam_monai.base.cases import as_paths, file_format
from pgsam_monai.base.files import sha256_of, time_and_size
from pgsam_monai.base.labels import values_of
from pgsam_monai.base.locks import hold
from pgsam_monai.base.trained_for import planned_by
from pgsam_monai.base.training_facts import FILE, TrainingFacts, read_training_facts
from pgsam_monai.base.volume import Volume
from pgsam_monai.bundle import Bundle
from pgsam_monai.predicting.confidence import FILE as CONFIDENCE
from pgsam_monai.predicting.confidence import Confidence, read_confidence
from pgsam_monai.predicting.measured import MeasuredStructure, measure_image, measure_structures
from pgsam_monai.predicting.outside import compared_with, image_warnings, structure_warnings
from pgsam_monai.predicting.summary_file import SummaryFile

SHOWN = 3
"""warnings of a case that are said at once"""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What predicts, as a summary tells of it."""

    bundle: str
    """its name; or that of published weights"""
    weights: Callable[[], Path]
    """the file that the network was loaded from"""
    trained_for: Mapping[str, Any] | None
    """the plan's stamp, see `base.trained_for`; None of published weights"""
    classes: Mapping[str, Sequence[int]]
    """foreground names -> values in label files, of which training has ranges"""
    facts: TrainingFacts | None
    confidence: Confidence = Confidence()
    """which Dice to expect of these classes"""

    @classmethod
    def of(cls, bundle: Bundle, *, asked: bool = False, weights: Path | None = None) -> Maker:
        """A trained bundle; `asked`: by a text or prompts, so that its classes aren't all that is there to find.

        `weights`: the file of an exported network, which answers in its model.pt's place.

        Raises:
            DamagedFile: its training_facts.json or confidence.json isn't what it must be.
        """
        entries = zip(bundle.names[1:], bundle.decisions["labels"][1:], strict=True)
        return cls(
            bundle=bundle.name,
            weights=lambda: weights or bundle.model_file,
            trained_for=planned_by(bundle.config("metadata.json"), bundle.folder).to_json(),
            classes={} if asked else {name: values_of(entry) for name, entry in entries},
            facts=read_training_facts(bundle.config_file(FILE)),
            confidence=Confidence()
            if asked
            else read_confidence(bundle.config_file(CONFIDENCE), bundle.decisions["labels"]),
        )

    @classmethod
    def published(cls, weights: str) -> Maker:
        """A name of `pgsam weights list`."""
        from pgsam_monai.weights.files import resolve_weights  # which brings torch

        return cls(
            bundle=weights,
            weights=lambda: resolve_weights(weights),
            trained_for=None,
            classes={},
            facts=None,
        )


class Summary:
    """Of the cases of one run, merged into the files that lie in its folder."""

    def __init__(self, folder: str | Path, maker: Maker, settings: Mapping[str, Any]) -> None:
        """
        Args:
            folder: of the predictions.
            maker: of them.
            settings: what was asked for, as plain values for JSON; entries that are None or False are left out.
        """
        self.folder, self.maker = Path(folder), maker
        self._settings = {name: wish for name, wish in settings.items() if wish not in (None, False)}
        self._file = SummaryFile(self.folder)
        self._digest: tuple[tuple[int, int], str] | None = None
        self._started = datetime.now(timezone.utc).astimezone().isoformat(timespec="microseconds")

    def files(self) -> list[Path]:
        """Where it is written."""
        return [self._file.json, self._file.csv]

    def forget(self, case: str) -> None:
        """Before a case's files are replaced: until they are told of, the summary says nothing of it."""
        self._file.read()
        if case in self._file.cases:
            self._change(case, None)

    def add(
        self,
        case: Mapping[str, Any],
        file: Path,
        *,
        label_map: np.ndarray,
        affine: np.ndarray,
        labels: Mapping[str, int],
        image: Volume | None,
        seconds: float,
        soft_dice: Mapping[str, float] | None = None,
    ) -> None:
        """Tell of a case that was predicted, and say its warnings.

        Args:
            case: {"name", "image": path or paths}.
            file: what was written.
            label_map: (i, j, k), values as in the file.
            affine: (4, 4) voxel -> mm RAS+.
            labels: foreground names -> values.
            image: as it was read; None where that isn't known.
            seconds: that it took.
            soft_dice: class name -> how sure the network is, see `inference.confidence`; None where it doesn't tell.
        """
        has_geometry = file_format(case["image"]) == "volume"
        measured = None if image is None else measure_image(image, has_geometry=has_geometry)
        structures = measure_structures(label_map, labels, affine, image, measured)
        facts = self.maker.facts
        if facts is None:
            of_image, of_each = [], {}
        else:
            of_image = [] if measured is None else image_warnings(measured, facts)
            of_each = structure_warnings(structures, self.maker.classes, facts)
        expected = self._expected(structures, soft_dice or {}, of_each)
        entry = {
            "images": [str(path) for path in as_paths(case["image"])],
            "output": file.name,
            "output_sha256": sha256_of(file),
            "seconds": round(seconds, 3),
            "warnings": of_image,
            "structures": [
                _structure(each, expected.get(each.name), of_each.get(each.name, [])) for each in structures
            ],
        }
        self._change(case["name"], entry)
        self._say(case["name"], [*of_image, *(text for texts in of_each.values() for text in texts)])

    def _expected(
        self,
        structures: Sequence[MeasuredStructure],
        soft_dice: Mapping[str, float],
        told: dict[str, list[str]],
    ) -> dict[str, tuple[float, float]]:
        """By name, expected Dice and its error of what was found; adds to the warnings `told`."""
        confidence = self.maker.confidence
        sure = {s.name: soft_dice[s.name] for s in structures if s.voxels and s.name in soft_dice}
        for name, warning in confidence.warnings(sure).items():
            told[name] = [*told.get(name, ()), warning]
        known = {name: each for name, each in confidence.of.items() if name in sure}
        return {name: (each.expect(sure[name]), each.error) for name, each in known.items()}

    def fail(self, case: Mapping[str, Any], reason: str) -> None:
        """Tell of a case that wasn't predicted; what is said of an earlier prediction of it stays, as that does."""
        entry = {"images": [str(path) for path in as_paths(case["image"])], "reason": reason}
        self._change(case["name"], None, entry)

    def _say(self, case: str, warnings: Sequence[str]) -> None:
        if warnings:
            more = f"; {len(warnings) - SHOWN} more in {self._file.json}" if len(warnings) > SHOWN else ""
            tqdm.write(f"unlike training: {case}: {'; '.join(warnings[:SHOWN])}{more}", file=sys.stderr)

    def _change(self, case: str, entry: dict[str, Any] | None, reason: dict[str, Any] | None = None) -> None:
        """Replace what is told of a case, unless it failed, and why it failed."""
        run = self._run()
        with hold(self.folder):  # other commands may write into the same folder
            self._file.read()
            self._file.runs[run["run"]] = run
            self._file.failed.pop(case, None)
            if reason is None:
                self._file.set(case, entry and {"case": case, "run": run["run"], **entry})
            else:
                self._file.failed[case] = {"case": case, "run": run["run"], **reason}
            self._file.write()

    def _run(self) -> dict[str, Any]:
        """As it stands in the file; weights that were renewed since make another run."""
        file = self.maker.weights()
        stamp = time_and_size(file)
        if self._digest is None or self._digest[0] != stamp:
            if self._digest is not None:
                self._started = datetime.now(timezone.utc).astimezone().isoformat(timespec="microseconds")
            self._digest = (stamp, sha256_of(file))
        return {
            "run": self._started,
            "program": f"pgsam-monai {__version__}",
            "bundle": self.maker.bundle,
            "weights_sha256": self._digest[1],
            "trained_for": self.maker.trained_for,
            "settings": self._settings,
            "warnings": compared_with(self.maker.facts),
            "expected_dice": str(self.maker.confidence),
        }


def _structure(
    measured: MeasuredStructure, expected: tuple[float, float] | None, warnings: Sequence[str]
) -> dict[str, Any]:
    """Its entry; numbers to six digits."""
    dice, error = expected or (None, None)
    return {
        "structure": measured.name,
        "value": measured.value,
        "millilitres": _rounded(measured.millilitres),
        "voxels": measured.voxels,
        "pieces": measured.pieces,
        "centroid": _rounded(measured.centroid),
        "centroid_mm": _rounded(measured.centroid_mm),
        "mean_intensity": _rounded(measured.means),
        "expected_dice": _rounded(dice),
        "expected_dice_error": _rounded(error),
        "warnings": list(warnings),
    }


def _rounded(value: float | Sequence[float] | None) -> Any:
    if value is None:
        return None
    return float(f"{value:.6g}") if isinstance(value, float) else [_rounded(each) for each in value]
