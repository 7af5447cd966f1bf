"""What a word means where more than one thing can be typed: 3 or 1,3,5 or -160,240, and values of configs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pgsam_monai.base.command_line import DECIMAL, TRUTHS, WHOLE
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.mirroring import AUTO
from pgsam_monai.bundle import Bundle

PLACES = ("_dir", "_file", "_root", "_folder")
"""Endings of the names of config values that are paths."""


def whole_numbers(flag: str, value: object) -> list[int]:
    """What was typed as 5 or 1,3,5."""
    several = _several(value)
    if not several or any(isinstance(number, bool) or not isinstance(number, int) for number in several):
        raise UserFault(
            f"--{flag} takes whole numbers separated by commas, as in 1,3,5; got {_typed(value)}."
        )
    return several


def one_number(flag: str, value: object) -> int:
    numbers = whole_numbers(flag, value)
    if len(numbers) > 1:
        raise UserFault(f"--{flag} takes one whole number, got {_typed(value)}.")
    return numbers[0]


def seed_numbers(value: object) -> list[int]:
    """The seeds that were typed: 3 means 0,1,2."""
    numbers = whole_numbers("seeds", 3 if value is None else value)
    single = isinstance(value, int | None) or (isinstance(value, str) and "," not in value)
    return list(range(numbers[0])) if single else numbers


def numbers(flag: str, value: object, names: tuple[str, ...], example: str) -> tuple[float, ...] | None:
    """A number for each of the names, or None where nothing was typed."""
    if value is None:
        return None
    several = tuple(_several(value))
    if len(several) != len(names) or any(
        isinstance(n, bool) or not isinstance(n, int | float) for n in several
    ):
        raise UserFault(
            f"--{flag} takes {len(names)} numbers {','.join(names)}, as in {example}; got {_typed(value)}."
        )
    return several


def window_numbers(value: object) -> tuple[float, ...] | None:
    """What was typed as -160,240."""
    return numbers("window", value, ("low", "high"), "-160,240")


def words(text: str | None) -> list[str]:
    """What was typed as a or a,b."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def settle_overrides(bundle: str, configs: Sequence[str], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a bundle's configs as they were typed, each as what it is there: paths and texts stay text.

    Raises:
        MissingFile: no bundle there.
    """
    planned = Bundle(bundle, configs=configs)
    known = {name: value for config in configs for name, value in planned.config(config).items()}
    return {name: _settled(name, value, known.get(name)) for name, value in typed.items()}


def _settled(name: str, typed: Any, planned: Any) -> Any:
    """A JSON number, list or truth; else the text itself."""
    is_text = isinstance(planned, str) and not planned.startswith(("$", "@", "%"))
    if not isinstance(typed, str) or is_text or name.endswith(PLACES):
        return typed
    try:
        return TRUTHS[typed] if typed in TRUTHS else json.loads({"None": "null"}.get(typed, typed))
    except (ValueError, RecursionError):
        return typed


def _several(value: object) -> list:
    if isinstance(value, str):
        return [_number(word.strip()) for word in value.strip("()[]").split(",")]
    return list(value) if isinstance(value, tuple | list) else [value]


def _number(word: str) -> int | float | str:
    """The word itself where it is no number."""
    return int(word) if WHOLE.fullmatch(word) else float(word) if DECIMAL.fullmatch(word) else word


def _typed(value: object) -> str:
    return ",".join(map(str, _several(value)))


def axes_typed(typed: str | None) -> list[str] | str | None:
    """What --mirror says: a list of axes' names, typed as a,b or as ["a","b"]; AUTO; or None where nothing was said."""
    if typed is None or typed == AUTO:
        return typed
    return [] if typed in ("none", "[]") else [name.strip(" []'\"") for name in typed.split(",")]
