"""soft_dice.json: how sure a network was of each case that it was measured on, beside its predictions."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import read_json
from pgsam_monai.inference.confidence import by_name, confidence_of

FILE = "soft_dice.json"
SCHEMA = {
    "required": ["schema_version", "cases"],
    "properties": {
        "schema_version": {"const": 1},
        "cases": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1.001},
            },
        },
    },
}
REMEDY = "delete it, and measure again"


class KeepSoftDiced(MapTransform):
    """Writes the Soft Dice Confidence that an inferer noted of each case into a folder's soft_dice.json.

    The file is whole after every case, so that a killed run has kept what it did; other cases in it stay. It belongs
    before `Invertd`, which passes on the image's meta data only. Predictions of inferers that note nothing pass; what
    was written of their cases before goes.

    Args:
        keys: of predictions, of items that have a "name".
        folder: of the measured cases; `predictions` lies in it.
        names: of all classes, the background first.
    Raises:
        DamagedFile: a soft_dice.json that is there isn't what it must be.
    """

    def __init__(self, keys: KeysCollection, *, folder: str | Path, names: Sequence[str]) -> None:
        super().__init__(keys)
        self.file, self.names = Path(folder) / FILE, list(names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        for key in self.key_iterator(data):
            before = read_soft_dice(self.file) if self.file.is_file() else {}
            cases = {name: sure for name, sure in before.items() if name != data["name"]}
            if confidence := confidence_of(data[key]):
                cases[data["name"]] = by_name(confidence, self.names)
            if cases != before:
                write_soft_dice(self.file, cases)
        return dict(data)


def read_soft_dice(file: str | Path) -> dict[str, dict[str, float]]:
    """Case -> foreground name -> Soft Dice Confidence, of what was found.

    Raises:
        MissingFile: none is there.
        DamagedFile: it isn't what `SCHEMA` says.
    """
    return read_json(file, remedy=REMEDY, schema=SCHEMA)["cases"]


def write_soft_dice(file: str | Path, cases: Mapping[str, Mapping[str, float]]) -> Path:
    """A case a line."""
    lines = ",\n".join(f"  {_json(name)}: {_json(confidence)}" for name, confidence in cases.items())
    return write_text(file, f'{{\n "schema_version": 1,\n "cases": {{\n{lines}\n }}\n}}\n')


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=True, allow_nan=False)
