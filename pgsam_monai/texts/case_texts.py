"""Which text each class has on an image in training and evaluation: its slice's, its case's, or the class's own.

PG-SAM's paper has a text per image (Fig. 2(a)); here they come from `configs/case_texts.json` (`case_file`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pgsam_monai.texts.case_file import entry_name, read_case_file

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
        for entry in dict.fromkeys((case, entry_name(case, slice_index))):
            for index, row in self._rows.get(entry, {}).items():
                rows[index] = row
        return {ROWS: rows}


def read_case_texts(file: str | Path, names: Sequence[str]) -> CaseTexts:
    """The texts of cases and slices; none where there is no such file.

    Args:
        file: the bundle's `configs/case_texts.json`.
        names: the plan's label names, background first.

    Raises:
        DamagedFile: it holds something else.
        UserFault: a text for no class.
    """
    content = read_case_file(file, names) if Path(file).is_file() else {}
    texts: list[list[str]] = []
    rows: dict[str, dict[int, int]] = {}
    for entry, given in content.items():
        for name, text in given.items():
            rows.setdefault(entry, {})[names.index(name)] = len(names) + len(texts)
            texts.append(text)
    return CaseTexts(texts, rows, len(names))
