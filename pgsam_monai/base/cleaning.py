"""What is done to a structure in predictions, and the file of a bundle that says so: `configs/postprocessing.json`.

A structure never vanishes by it: pieces are dropped by their share of the largest one, which stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.json_files import DamagedFile, read_json
from pgsam_monai.base.labels import Entry, values_of

FILE = "postprocessing.json"
STRUCTURE = {
    "type": "object",
    "required": ["value", "pieces", "fill"],
    "properties": {
        "value": {"type": "integer"},
        "pieces": {"type": "number", "minimum": 0, "maximum": 1},
        "fill": {"type": "boolean"},
    },
}
SCHEMA = {
    "required": ["labels", "structures"],
    "properties": {
        "schema_version": {"const": 1},
        "labels": {"type": "array"},
        "structures": {"type": "array", "items": STRUCTURE},
    },
}


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Of one structure."""

    pieces: float = 0.0
    """connected pieces with less than this share of the largest one's voxels become background; 1 keeps the largest"""
    fill: bool = False
    """background that the structure encloses becomes the structure"""

    def __bool__(self) -> bool:
        """Whether anything is done."""
        return self.pieces > 0 or self.fill

    def __str__(self) -> str:
        pieces = "largest piece" if self.pieces == 1 else f"pieces of {self.pieces:.0%} of the largest"
        told = [*([pieces] if self.pieces else []), *(["holes filled"] if self.fill else [])]
        return " and ".join(told) or "as predicted"


LARGEST = Cleaning(pieces=1.0)


def read_cleanings(file: str | Path, labels: Sequence[Entry]) -> dict[int, Cleaning]:
    """Label value -> what is done to that structure, where anything is.

    Args:
        file: a `postprocessing.json`.
        labels: of the bundle, the background first.

    Raises:
        MissingFile, DamagedFile: as `read_json`, or because it was chosen for other labels.
    """
    remedy = "delete it, or choose again with pgsam train --folds all"
    content: dict[str, Any] = read_json(file, remedy=remedy, schema=SCHEMA)
    if content["labels"] != [list(values_of(entry)) for entry in labels]:
        raise DamagedFile(file, "it was chosen for other labels than the bundle's", remedy)
    found = {
        entry["value"]: Cleaning(pieces=entry["pieces"], fill=entry["fill"])
        for entry in content["structures"]
    }
    return {value: cleaning for value, cleaning in found.items() if cleaning}
