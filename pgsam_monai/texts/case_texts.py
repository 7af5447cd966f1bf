"""Texts of single cases or slices: `configs/case_texts.json`, which `pgsam describe --each` writes, and people.

    {"case0005": {"liver": "Enlarged liver that reaches the spleen."}, "case0005/78": {"liver": ["…", "…"]}}

PG-SAM's paper has a text per image (Fig. 2(a)). Here a class's text on a slice is that of the slice, else that of its
case, else the class's own in texts.json. The slice counts along the last axis of the oriented volume, from 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.texts.texts import alternatives

ROWS = "text_rows"
"""under which an item tells the network its texts"""


class CaseTexts:
    """Which text each class has on an image, as rows of one table: the classes' texts first, then the cases'."""

    def __init__(
        self, texts: Sequence[Sequence[str]], rows: Mapping[str, Mapping[int, int]], classes: int
    ) -> None:
        """
        Args:
            texts: of cases and slices, each one description or alternatives.
            rows: case or case/slice -> class index -> row of the table.
            classes: K + 1, the rows that the classes' own texts take.
        """
        self.texts, self._rows, self._classes = [list(entry) for entry in texts], dict(rows), classes

    def __call__(self, case: str, slice_index: int | None = None) -> dict[str, Tensor]:
        """{"text_rows": (K+1,)} of a case, or of one of its slices."""
        rows = torch.arange(self._classes)
        keys = [case] if slice_index is None else [case, f"{case}/{slice_index}"]
        for key in keys:
            for index, row in self._rows.get(key, {}).items():
                rows[index] = row
        return {ROWS: rows}


def read_case_texts(file: str | Path, names: Sequence[str]) -> CaseTexts:
    """The texts of cases and slices; none where there is no such file.

    Args:
        file: the bundle's `configs/case_texts.json`.
        names: the plan's label names, background first.

    Raises:
        UserFault: no JSON of that form, or a text for no class.
    """
    file = Path(file)
    content = _load(file) if file.is_file() else {}
    texts: list[list[str]] = []
    rows: dict[str, dict[int, int]] = {}
    for key, given in content.items():
        for name, text in _checked(file, key, given, names).items():
            rows.setdefault(key, {})[names.index(name)] = len(names) + len(texts)
            texts.append(text)
    return CaseTexts(texts, rows, len(names))


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserFault(f"Texts file '{file}' is no JSON with one entry per case: {error}.") from error
    if not isinstance(content, dict):
        raise UserFault(f"Texts file '{file}' must hold a JSON object, case name to texts by class.")
    return content


def _checked(file: Path, key: str, given: Any, names: Sequence[str]) -> dict[str, list[str]]:
    if not isinstance(given, dict):
        raise UserFault(f"Texts file '{file}', case '{key}': write an object, class name to text.")
    for name in given:
        if name not in names:
            raise UserFault(
                f"Texts file '{file}', case '{key}': '{name}' is no class.{did_you_mean(name, names)} "
                f"Classes are {', '.join(names)}."
            )
    return {name: alternatives(file, f"{key}: {name}", text) for name, text in given.items()}
