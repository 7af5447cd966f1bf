"""Published lists of single training slices: lists/<name>.json, and where their slices lie in a copy of the data.

A list names a slice by its case's number and its index, from 0, along the third axis of the published file, which the
data set's archives (TransUNet's) were cut along. Files with another orientation in their header are read as they are
stored all the same, so a planned volume whose last axis runs the other way has them from the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pgsam_monai.base.errors import UserFault
from preprocess.fingerprint.facts import CaseFacts
from preprocess.splits.records import Splits

FOLDER = Path(__file__).parent / "lists"
OPPOSITE = {"S": "I", "I": "S", "L": "R", "R": "L", "A": "P", "P": "A"}
REMEDY = "add --few_shot slices:10% to draw slices by seed instead"


@dataclass(frozen=True, kw_only=True)
class SliceList:
    """The slices that train."""

    source: str
    """whose list, in words"""
    slices: Mapping[int, tuple[int, ...]]
    """number of a case -> indices along its file's third axis"""


def read_slice_list(name: str) -> SliceList:
    """The list lists/<name>.json."""
    record = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    slices = {int(number): tuple(indices) for number, indices in record["slices"].items()}
    return SliceList(source=record["source"], slices=slices)


def with_listed_slices(
    splits: Splits, listed: SliceList, *, facts: Sequence[CaseFacts] | None = None, orientation: str = ""
) -> Splits:
    """Splits whose training cases train with their listed slices alone; validation and test cases stay whole.

    Args:
        splits: of all cases, whose last numbers are those of the list.
        listed: has slices of each training case.
        facts: of the cases, as they are stored; None without data: the third axis is taken to run as the planned one.
        orientation: the planned code, such as "PLS", or "" where volumes are taken as they are stored.

    Raises:
        UserFault: a case has fewer slices, or its third axis isn't the one that slices are taken along.
    """
    stored = {case.name: case for case in facts or ()}
    cases = dict(splits.cases)
    for name in dict.fromkeys(name for fold in splits.folds for name in fold.training):
        indices = listed.slices[int(re.findall(r"\d+", name)[-1])]
        if facts is not None:
            indices = planned_slices(indices, stored[name], orientation)
        cases[name] = {**cases[name], "slices": sorted(indices)}
    note = f"Of the training cases these slices alone train: {listed.source}."
    if facts is None:
        note += " Files are taken to be stored from the feet to the head; planned with the data, that is looked at."
    return replace(splits, cases=cases, note=f"{splits.note} {note}".strip())


def planned_slices(indices: Sequence[int], case: CaseFacts, orientation: str) -> list[int]:
    """Indices along the third axis of a case's file as indices along the last axis of its planned volume.

    Raises:
        UserFault: see `with_listed_slices`.
    """
    depth, axis, planned = case.shape[2], case.orientation[2:], orientation[2:]
    if max(indices) >= depth:
        raise UserFault(
            f"Case '{case.name}' has {depth} slices, and the recipe's list names its slice {max(indices)}: this is no "
            f"whole copy of the published data; {REMEDY}."
        )
    if not planned or axis == planned:
        return list(indices)
    if OPPOSITE[planned] != axis:
        raise UserFault(
            f"Case '{case.name}' is stored as {case.orientation}, and slices are taken along the last axis of "
            f"{orientation}: the recipe's list counts slices along the third axis of the file; {REMEDY}."
        )
    return [depth - 1 - index for index in indices]
