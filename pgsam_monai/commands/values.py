"""Numbers as they are typed, 3 or 1,3,5 or -160,240: python-fire makes a number of one and a tuple of several."""

from __future__ import annotations

from pgsam_monai.base.errors import UserFault


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
    return list(range(numbers[0])) if isinstance(value, int | None) else numbers


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


def _several(value: object) -> list:
    return list(value) if isinstance(value, tuple | list) else [value]


def _typed(value: object) -> str:
    return ",".join(map(str, _several(value)))
