"""Reads the planner's splits.json into the lists of cases that the datasets take."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.cases import FILE, IN_THE_IMAGES, VALUES, as_paths
from pgsam_monai.base.errors import UserFault, nearest
from pgsam_monai.base.splits import read_splits

PARTS = ("training", "validation", "test", "unseen")
ALL_CASES = "all_cases"
"""A fold whose training list has every labelled case of all folds' lists, test cases left out, and that validates
nothing: of the last training, once everything is decided."""
REMEDY = "plan the data set again, or correct its path"


@dataclass(frozen=True, kw_only=True)
class FewSlices:
    """The papers' few-shot setting: some of all slices of the training list, drawn at random over its cases."""

    spec: str
    """as the user wrote it, "slices:10%"."""
    seed: int
    share: float | None = None
    """0 to 1, of the training list's slices"""
    count: int | None = None
    """or so many of them"""

    def draw(self, available: int) -> list[int]:
        """Rising indices of the chosen ones among `available` slices: a function of the seed and their number.

        Raises:
            ValueError: more are wanted than there are.
        """
        wanted = self.count if self.share is None else max(1, round(self.share * available))
        if wanted > available:
            raise UserFault(
                f"Few-shot '{self.spec}': the training list holds {available} slices only; plan again with at "
                "most as many."
            )
        return sorted(random.Random(self.seed).sample(range(available), wanted))


def read_few_slices(splits_file: str | Path) -> FewSlices | None:
    """The draw of training slices that splits.json states; None where every slice trains.

    Raises:
        FileNotFoundError: no splits_file.
    """
    splits = read_splits(splits_file, remedy=REMEDY)
    wish = splits.get("few_shot") or {}
    if wish.get("level") != "slice":
        return None
    return FewSlices(spec=wish["spec"], seed=splits["seed"], share=wish.get("share"), count=wish.get("count"))


def select_cases(
    splits_file: str | Path, dataset_dir: str | Path, *, fold: int | str = 0, part: str = "training"
) -> list[dict[str, Any]]:
    """Cases of one part of one fold, with paths under `dataset_dir`.

    fold: its number, or `ALL_CASES`.
    part: "training" or "validation" of the fold, "test", or "unseen": the test cases or, if there are
    none, the fold's validation cases.

    Returns dicts {"name", "image": path or [paths], "label": path, [paths], {value: mask} or one with other values
    (`base.cases.Paths`), ("slices": [int]), ("labelled": [values]), ("subject": str)} in the order of splits.json.
    "label" is left out for a case without one (test cases only). A label "@images" there (archives that hold both
    arrays) becomes the image paths. "slices" are indices along the last axis of the preprocessed volume (few-shot by
    slice); "labelled" are the label values that were looked for, where not all were; "subject" is whom it shows, where
    several cases show one.

    Raises:
        FileNotFoundError: no splits_file. ValueError: unknown part, fold out of range, all cases where the splits
        keep but a few, or a training or validation case without label.
    """
    splits = read_splits(splits_file, remedy=REMEDY)
    return [
        _resolve(name, splits["cases"][name], Path(dataset_dir), part) for name in _names(splits, fold, part)
    ]


def images_only(
    cases: Sequence[Mapping[str, Any]], extras: Callable[[str], Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The cases without their labels, as inference sees them; `extras` tells what else an item holds, by its name."""
    return [
        {"name": case["name"], "image": case["image"], **(extras(case["name"]) if extras else {})}
        for case in cases
    ]


def require_files(cases: Sequence[Mapping[str, Any]], dataset_dir: str | Path) -> None:
    """End the program with one sentence if files of `cases` are missing: before weights are fetched for nothing.

    Raises:
        SystemExit: with that sentence. (Any other exception MONAI would bury below its wrappers and a traceback.)
    """
    files = [
        path for case in cases for key in ("image", "label") if key in case for path in as_paths(case[key])
    ]
    missing = [path for path in files if not path.exists()]
    if not missing:
        return
    raise SystemExit(
        f"The data set is not here: {len(missing)} of the {len(files)} files that configs/splits.json names are "
        f"missing, the first is '{missing[0]}'; say where it lies with --dataset_dir FOLDER (now "
        f"'{dataset_dir}'), or plan your own copy with pgsam-plan."
    )


def _names(splits: dict, fold: int, part: str) -> list[str]:
    if part not in PARTS:
        near = nearest(part, PARTS)
        hint = f" did you mean {near!r}?" if near else ""
        raise UserFault(f"select_cases: part must be one of {', '.join(PARTS)}, got {part!r};{hint}")
    if part == "test" or (part == "unseen" and splits["test"]):
        return splits["test"]
    if fold == ALL_CASES:
        return _all_cases(splits) if part == "training" else []
    if not isinstance(fold, int) or not 0 <= fold < len(splits["folds"]):
        raise UserFault(
            f"select_cases: fold must be 0 to {len(splits['folds']) - 1}, or {ALL_CASES}, got {fold}."
        )
    return splits["folds"][fold]["validation" if part == "unseen" else part]


def _all_cases(splits: dict) -> list[str]:
    wish = splits.get("few_shot") or {}
    if wish and wish["level"] != "slice":
        raise UserFault(
            f"select_cases: these splits keep few training cases ({wish['spec']}), {ALL_CASES} would train on all; "
            "plan again without --few_shot, or name a fold."
        )
    listed = {name for fold in splits["folds"] for name in (*fold["training"], *fold["validation"])}
    return [name for name in splits["cases"] if name in listed - set(splits["test"])]


def located(name: str, files: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A case's entry in splits.json with its paths under `folder`, as `select_cases` returns it."""

    def under(paths: Any) -> Any:
        if isinstance(paths, dict) and VALUES in paths:
            return {**paths, FILE: under(paths[FILE])}
        if isinstance(paths, dict):  # a label's masks by their value
            return {value: str(folder / path) for value, path in paths.items()}
        if isinstance(paths, str):
            return str(folder / paths)
        return str(folder / paths[0]) if len(paths) == 1 else [str(folder / path) for path in paths]

    case: dict[str, Any] = {"name": name, "image": under(files["image"])}
    label = files.get("label")
    if label:
        case["label"] = case["image"] if label == IN_THE_IMAGES else under(label)
    if files.get("slices") is not None:
        case["slices"] = list(files["slices"])
    if files.get("labelled") is not None:
        case["labelled"] = list(files["labelled"])
    if files.get("subject") is not None:
        case["subject"] = files["subject"]
    return case


def _resolve(name: str, files: Mapping[str, Any], folder: Path, part: str) -> dict[str, Any]:
    case = located(name, files, folder)
    if "label" not in case and part not in ("test", "unseen"):
        raise UserFault(
            f"Case '{name}' of part '{part}' has no label in splits.json; plan the data set again."
        )
    return case
