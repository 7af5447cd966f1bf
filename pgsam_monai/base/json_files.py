"""JSON files that we, or a person with an editor, wrote: checked where they are read, told in a sentence if damaged."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pgsam_monai.base.errors import MissingFile, UserFault

MOST_BYTES = 512 << 20
"""of a JSON file: lists of all slices of thousands of cases take some hundred megabytes"""
SHAPES: dict[type, str] = {dict: "an object in braces", list: "a list in brackets"}
Made = TypeVar("Made")


class DamagedFile(UserFault):
    """A file of ours, or one that a person edited, doesn't hold what it must; the message has the remedy."""

    def __init__(self, file: str | Path, reason: str, remedy: str) -> None:
        super().__init__(f"'{file}' is damaged: {reason.rstrip('.')}; {remedy}.")


def read_json(
    file: str | Path,
    *,
    remedy: str,
    shape: type | None = dict,
    schema: Mapping[str, Any] | None = None,
    nan: bool = False,
) -> Any:
    """The content of a JSON file.

    Args:
        file: read as UTF-8, with or without its mark.
        remedy: what the user should do if it is damaged, as the end of a sentence ("plan the data set again").
        shape: dict or list, which the outermost value must be; None for any.
        schema: a JSON schema that it must meet.
        nan: whether NaN and Infinity, which are no JSON, are let through: in what was measured.

    Raises:
        MissingFile: there is none.
        DamagedFile: it is no JSON, another value than `shape`, not what the schema says, not a regular file, or larger
            than `MOST_BYTES`.
    """
    file = Path(file)
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise MissingFile(f"'{file}' does not exist; {remedy}.") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
        raise DamagedFile(file, "it is no ordinary JSON file", remedy)
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=None if nan else _no_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DamagedFile(file, f"no valid JSON ({_first_words(error)})", remedy) from error
    if shape is not None and not isinstance(content, shape):
        raise DamagedFile(file, f"{SHAPES[shape]} is expected, got {type(content).__name__}", remedy)
    if schema is not None:
        require_schema(content, schema, file=file, remedy=remedy)
    return content


def made_of(content: Any, make: Callable[[Any], Made], *, file: str | Path, remedy: str) -> Made:
    """`make(content)`, a record from what `read_json` gave; entries that it lacks or misshapes are the file's damage.

    Raises:
        DamagedFile: see above.
    """
    try:
        return make(content)
    except UserFault:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise DamagedFile(file, f"it lacks or misshapes an entry ({_first_words(error)})", remedy) from error


def require_schema(content: Any, schema: Mapping[str, Any], *, file: str | Path, remedy: str) -> None:
    """Raise DamagedFile, which says where, unless the content of a file meets a JSON schema."""
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    fault = best_match(Draft7Validator(schema).iter_errors(content))
    if fault is not None:
        where = "/".join(map(str, fault.absolute_path))[:80]
        raise DamagedFile(file, f"{where + ': ' if where else ''}{fault.message[:200]}", remedy)


def _no_number(word: str) -> NoReturn:
    """Python alone takes these for numbers."""
    raise ValueError(f"{word} is no JSON number")


def _first_words(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
