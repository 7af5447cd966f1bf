"""What a decision's value may be, said beside its rule: for wishes, and for plans that were edited by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

AnyRule = TypeVar("AnyRule", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a decision's value may be."""

    what: str
    """completes "must be ..." """

    fits: Callable[[Any], bool]
    options: tuple[Any, ...] = ()
    """of a choice: all values there are"""

    def allows(self, value: Any) -> bool:
        """Whether `value`, of whatever type, is one."""
        try:
            return bool(self.fits(value))
        except (TypeError, ValueError, AttributeError, LookupError):  # it was not even comparable
            return False


def takes(kind: Kind) -> Callable[[AnyRule], AnyRule]:
    """Marks a rule with what its decision may be. A network's own rule without a mark takes what others do there."""

    def mark(rule: AnyRule) -> AnyRule:
        rule.kind = kind  # type: ignore[attr-defined]
        return rule

    return mark


def widest(kinds: Sequence[Kind]) -> Kind:
    """What at least one of several rules takes: the options of all choices, else the first rule's."""
    options = tuple(dict.fromkeys(option for kind in kinds for option in kind.options))
    return choice(*options) if options else kinds[0]


LARGEST = 2**31 - 1
"""No decision needs more, and what reads a plan may count in 32 bits."""


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_number(value: Any) -> bool:
    """Finite: JSON knows no other, but Python's reader does."""
    return isinstance(value, float) and math.isfinite(value) or is_whole(value)


def whole(least: int, multiple: int = 1) -> Kind:
    what = f"a whole number of at least {least}" + (f" and a multiple of {multiple}" if multiple > 1 else "")
    return Kind(what=what, fits=lambda value: is_whole(value) and value >= least and value % multiple == 0)


def number(least: float, most: float = float("inf"), *, above: bool = False) -> Kind:
    what = f"a number {'above' if above else 'of at least'} {least:g}" + (
        f" and at most {most:g}" if most < 1e9 else ""
    )
    return Kind(
        what=what,
        fits=lambda value: (
            is_number(value) and (value > least if above else value >= least) and value <= most
        ),
    )


def choice(*names: Any) -> Kind:
    what = "one of " + ", ".join("null" if name is None else str(name) for name in names)
    return Kind(what=what, fits=lambda value: value in names, options=names)


def numbers(length: int | None, what: str, least: float = 0.0, *, or_null: bool = False) -> Kind:
    def fits(value: Any) -> bool:
        if value is None:
            return or_null
        right_length = isinstance(value, list) and (length is None or len(value) == length)
        return right_length and all(is_number(item) and item >= least for item in value)

    return Kind(what=what, fits=fits)


def word(what: str, *, or_null: bool = False) -> Kind:
    return Kind(
        what=what,
        fits=lambda value: or_null if value is None else isinstance(value, str) and bool(value),
    )


def or_null(kind: Kind) -> Kind:
    return Kind(what=f"{kind.what}, or null", fits=lambda value: value is None or kind.fits(value))


TRUTH = Kind(what="true or false", fits=lambda value: isinstance(value, bool))
SHARE = number(0, 1)
FACTOR = number(0, above=True)
