"""What was typed on the command line, as the commands take it: python-fire guesses types, here they are settled."""

from __future__ import annotations

from pgsam_monai.base.errors import UserFault


def whole_numbers(flag: str, value: object) -> list[int]:
    """What was typed as 5 or 1,3,5: python-fire makes a number of the first and a tuple of the second."""
    several = list(value) if isinstance(value, tuple | list) else [value]
    if not several or any(isinstance(number, bool) or not isinstance(number, int) for number in several):
        raise UserFault(
            f"--{flag} takes whole numbers separated by commas, as in 1,3,5; got {typed_text(value)}."
        )
    return several


def seed_numbers(value: object) -> list[int]:
    """The seeds that were typed: 3 means 0,1,2."""
    numbers = whole_numbers("seeds", 3 if value is None else value)
    return list(range(numbers[0])) if isinstance(value, int | None) else numbers


def one_number(flag: str, value: object) -> int:
    numbers = whole_numbers(flag, value)
    if len(numbers) > 1:
        raise UserFault(f"--{flag} takes one whole number, got {typed_text(value)}.")
    return numbers[0]


def parallel_runs(value: object) -> int:
    numbers = whole_numbers("parallel", 1 if value is None else value)
    if len(numbers) > 1 or numbers[0] < 1:
        raise UserFault(f"--parallel takes one number of runs, at least 1; got {typed_text(value)}.")
    return numbers[0]


def propagation(value: object) -> bool | int:
    return value if isinstance(value, bool) else one_number("propagate", value)


def box_numbers(value: object) -> tuple[float, ...] | None:
    """What was typed as 120,210,90,180,88,88."""
    return _numbers("box", value, ("i0", "i1", "j0", "j1", "k0", "k1"), "120,210,90,180,88,88")


def window_numbers(value: object) -> tuple[float, ...] | None:
    """What was typed as -160,240."""
    return _numbers("window", value, ("low", "high"), "-160,240")


def _numbers(flag: str, value: object, names: tuple[str, ...], example: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = tuple(value) if isinstance(value, tuple | list) else ()
    if len(numbers) != len(names) or any(
        isinstance(n, bool) or not isinstance(n, int | float) for n in numbers
    ):
        raise UserFault(
            f"--{flag} takes {len(names)} numbers {','.join(names)}, as in {example}; got {typed_text(value)}."
        )
    return numbers


def asked_text(value: object) -> str | None:
    """What was typed after --text; python-fire makes True of nothing."""
    if isinstance(value, bool):
        raise UserFault('--text takes words, as in --text "perform liver segmentation".')
    return typed_text(value)


def typed_text(value: object) -> str | None:
    """What was typed: python-fire makes a tuple of `a,b` and a number of `7`."""
    if value is None or isinstance(value, str):
        return value
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
