"""Text headers: values of the kind and the count that they must have, and the files that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.admission import data_beside
from pgsam_monai.base.volume.records import ReadError

MOST_AXES = 4
"""of a volume in a file: i, j, k and one of channels"""
_LONGEST_AXIS = 1 << 40
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBERED = re.compile(r"([^%]*)%(0?\d{0,2})d([^%]*)")
_MOST_FILES = 100_000


@dataclass(frozen=True)
class Fields:
    """The fields of one header by name, as text."""

    file: Path
    values: Mapping[str, str]

    def text(self, key: str) -> str:
        """Raises ReadError where it is missing."""
        if key not in self.values:
            raise ReadError(self.file, f"its header lacks {key!r}")
        return self.values[key]

    def first(self, *keys: str) -> str | None:
        """The first of these that the header has."""
        return next((key for key in keys if key in self.values), None)

    def flag(self, key: str, *, default: bool = False) -> bool:
        word = self.values.get(key, str(default)).lower()
        if word not in ("true", "false", "1", "0"):
            raise ReadError(self.file, f"{key} must be True or False, got {word[:40]!r}")
        return word in ("true", "1")

    def whole(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = _LONGEST_AXIS
    ) -> int:
        """One whole number within bounds."""
        if default is not None and key not in self.values:
            return default
        return self._wholes(key, 1, least, most)[0]

    def wholes(self, key: str, count: int) -> tuple[int, ...]:
        """Whole numbers of at least 1."""
        return self._wholes(key, count, 1, _LONGEST_AXIS)

    def _wholes(self, key: str, count: int, least: int, most: int) -> tuple[int, ...]:
        words = self.text(key).split()
        numbers = tuple(int(word) for word in words if _WHOLE.fullmatch(word))
        if len(numbers) != len(words) or not all(least <= number <= most for number in numbers):
            raise ReadError(
                self.file, f"{key} must be whole numbers from {least} to {most}, got {self._shown(key)}"
            )
        self._check_count(key, len(numbers), count)
        return numbers

    def numbers(self, key: str | None, count: int, *, default: float = 0.0) -> np.ndarray:
        """(count,) finite numbers; all `default` where `key` is None."""
        if key is None:
            return np.full(count, default)
        try:
            values = np.array([float(word) for word in self.text(key).split()])
        except ValueError:
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            raise ReadError(self.file, f"{key} must be finite numbers, got {self._shown(key)}")
        self._check_count(key, len(values), count)
        return values

    def _check_count(self, key: str, got: int, count: int) -> None:
        if got != count:
            raise ReadError(self.file, f"{key} must be {count} numbers, got {self._shown(key)}")

    def _shown(self, key: str) -> str:
        return repr(self.values[key][:60])


def numbered_files(header: Path, pattern: str) -> tuple[Path, ...]:
    """One file, or those of "name%03d.raw first last step". Raises ReadError unless they lie beside the header."""
    if "%" not in pattern:
        return (data_beside(header, pattern),)
    name, *counts = pattern.split()
    form = _NUMBERED.fullmatch(name)
    if form is None or not 2 <= len(counts) <= 4 or not all(_WHOLE.fullmatch(word) for word in counts):
        raise ReadError(header, f"it takes its voxels from {pattern[:60]!r}, which is no file of its folder")
    first, last, step = (*(int(word) for word in counts), 1)[:3]
    numbers = range(first, last + 1, max(step, 1))
    if not 0 < len(numbers) <= _MOST_FILES or first < 0:
        raise ReadError(header, f"{pattern[:60]!r} names no files")
    before, digits, after = form.groups()
    return tuple(data_beside(header, f"{before}{number:{digits}d}{after}") for number in numbers)
