"""The content of splits.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Fold:
    training: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The content of splits.json."""

    seed: int
    few_shot: dict[str, Any] | None
    """{"spec": "10%", "level": "case" (or "subject", where subjects have several cases)}, with "seed" where that isn't
    this file's, or {"spec": "slices:10%", "level": "slice", "share": 0.1 (or "count": n)}; None without"""

    cases: dict[str, dict[str, Any]]
    """name -> {"image": path or [paths], "label": path or None, "labels": [foreground values that it holds],
    "labelled": [values that were looked for], "subject": whom it shows, "slices": [the planned volume's slices that
    train]}; the labels where they were measured, what was looked for where that wasn't everything, the subject where
    subjects have several cases, the slices where a published list names them"""

    folds: tuple[Fold, ...]
    """training lists hold the choice of few cases already. Few slices are drawn where training starts, since only
    there they are counted without fail: by `pgsam_monai.data.splits.FewSlices`, with this file's seed."""

    test: tuple[str, ...] = ()
    note: str = field(default="")
    """anything unusual about these splits, in a sentence"""
    subjects: dict[str, str] | None = None
    """{"rule": "names", "reason": that rule in a sentence, with examples}; None where each case is a subject of its
    own"""

    @property
    def units(self) -> str:
        """What folds and few-shot subsets count."""
        return "subjects" if self.subjects else "cases"

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "seed": self.seed,
            "few_shot": self.few_shot,
        }
        if self.note:
            record["note"] = self.note
        if self.subjects:
            record["subjects"] = self.subjects
        record["cases"] = self.cases
        record["folds"] = [
            {"training": list(f.training), "validation": list(f.validation)} for f in self.folds
        ]
        record["test"] = list(self.test)
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Splits:
        folds = [
            Fold(training=tuple(f["training"]), validation=tuple(f["validation"])) for f in record["folds"]
        ]
        return cls(
            seed=record["seed"],
            few_shot=record["few_shot"],
            cases=dict(record["cases"]),
            folds=tuple(folds),
            test=tuple(record["test"]),
            note=record.get("note", ""),
            subjects=record.get("subjects"),
        )
