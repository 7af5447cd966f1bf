"""JSON files that we, or a person with an editor, wrote: checked where they are read, told in a sentence if damaged."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, NoReturn

from pgsam_monai.base.errors import MissingFile, UserFault

MOST_BYTES = 512 << 20
"""of a JSON file: lists of all slices of thousands of cases take some hundred megabytes"""
SHAPES = {dict: "an object in braces", list: "a list in brackets"}


class DamagedFile(UserFault):
    """A file of ours, or one that a person edited, doesn't hold what it must; the message has the remedy."""

    def __init__(self, file: str | Path, reason: str, remedy: str) -> None:
        super().__init__(f"'{file}' is damaged: {reason.rstrip('.')}; {remedy}.")


def read_json(file: str | Path, *, remedy: str, shape: type | None = dict) -> Any:
    """The content of a JSON file.

    Args:
        file: read as UTF-8, with or without its mark.
        remedy: what the user should do if it is damaged, as the end of a sentence ("plan the data set again").
        shape: dict or list, which the outermost value must be; None for any.

    Raises:
        MissingFile: there is none.
        DamagedFile: it is no JSON, another value than `shape`, not a regular file, or larger than `MOST_BYTES`.
    """
    file = Path(file)
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise MissingFile(f"'{file}' does not exist; {remedy}.") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
        raise DamagedFile(file, "it is no ordinary JSON file", remedy)
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DamagedFile(file, f"no valid JSON ({_first_words(error)})", remedy) from error
    if shape is not None and not isinstance(content, shape):
        raise DamagedFile(file, f"{SHAPES[shape]} is expected, got {type(content).__name__}", remedy)
    return content


def _no_number(word: str) -> NoReturn:
    """Python alone takes these for numbers."""
    raise ValueError(f"{word} is no JSON number")


def _first_words(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
