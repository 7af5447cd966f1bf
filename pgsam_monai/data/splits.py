"""Reads the planner's splits.json into the lists of cases that the datasets take."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARTS = ("training", "validation", "test", "unseen")
SAME_FILES = "@images"


def select_cases(
    splits_file: str | Path, dataset_dir: str | Path, *, fold: int = 0, part: str = "training"
) -> list[dict[str, Any]]:
    """Cases of one part of one fold, with paths under `dataset_dir`.

    part: "training" or "validation" of the fold, "test", or "unseen": the test cases or, if there are
    none, the fold's validation cases.

    Returns dicts {"name", "image": path or [paths], "label": path or [paths], ("slices": [int])} in the order
    of splits.json. "label" is left out for a case without one (test cases only). A label "@images" there
    (archives that hold both arrays) becomes the image paths. "slices" are indices along the last axis of the
    preprocessed volume (few-shot by slice).

    Raises:
        FileNotFoundError: no splits_file. ValueError: unknown part, fold out of range, or a training or
        validation case without label.
    """
    splits_file = Path(splits_file)
    if not splits_file.is_file():
        raise FileNotFoundError(
            f"Splits file {splits_file} does not exist; run pgsam-plan, or correct its path."
        )
    splits = json.loads(splits_file.read_text(encoding="utf-8"))
    return [
        _resolve(name, splits["cases"][name], Path(dataset_dir), part) for name in _names(splits, fold, part)
    ]


def images_only(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cases without their labels, as inference sees them."""
    return [{"name": case["name"], "image": case["image"]} for case in cases]


def _names(splits: dict, fold: int, part: str) -> list[str]:
    if part not in PARTS:
        near = difflib.get_close_matches(str(part), PARTS, n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"select_cases: part must be one of {', '.join(PARTS)}, got {part!r};{hint}")
    if part == "test" or (part == "unseen" and splits["test"]):
        return splits["test"]
    if not 0 <= fold < len(splits["folds"]):
        raise ValueError(f"select_cases: fold must be 0 to {len(splits['folds']) - 1}, got {fold}.")
    return splits["folds"][fold]["validation" if part == "unseen" else part]


def _resolve(name: str, files: dict[str, Any], folder: Path, part: str) -> dict[str, Any]:
    def under(paths: str | list[str]) -> str | list[str]:
        if isinstance(paths, str):
            return str(folder / paths)
        return str(folder / paths[0]) if len(paths) == 1 else [str(folder / path) for path in paths]

    case: dict[str, Any] = {"name": name, "image": under(files["image"])}
    label = files.get("label")
    if label:
        case["label"] = case["image"] if label == SAME_FILES else under(label)
    elif part not in ("test", "unseen"):
        raise ValueError(
            f"Case '{name}' of part '{part}' has no label in splits.json; plan the data set again."
        )
    if files.get("slices") is not None:
        case["slices"] = list(files["slices"])
    return case
