"""Checks what stands in a file of clicks: class names, keys and numbers, each with a remedy."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from reprlib import repr as shortly
from typing import Any

from pgsam_monai.base.errors import UserFault, nearest


def find_class(given: str, names: Sequence[str]) -> str | None:
    """The class of that name, capitals aside (MONAI Label lower-cases names); None if none or several."""
    if given in names:
        return given
    same = [name for name in names if name.casefold() == given.casefold()]
    return same[0] if len(same) == 1 else None


def class_named(given: Any, names: Sequence[str] | None, where: str) -> str:
    """The class that `given` names; any text without `names`. Raises UserFault with the nearest name."""
    found = given if names is None else find_class(str(given), names)
    if not isinstance(found, str) or not found:
        raise UserFault(f"{where}: {shortly(given)} is no class of this model; {hint(given, names or ())}")
    return found


def refuse_others(given: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raises UserFault for the first key that isn't known."""
    for key in given:
        if key not in known:
            raise UserFault(f"{where}: {shortly(key)} is no key; {hint(key, known)}")


def numbers(values: Any, width: int, where: str) -> tuple[tuple[float, ...], ...]:
    """A list of points (3 numbers each) or boxes (6 numbers each) as tuples of floats.

    Raises UserFault, counting from 1, for anything else.
    """
    meant = "points [i, j, k]" if width == 3 else "boxes [i0, i1, j0, j1, k0, k1]"
    if not isinstance(values, list | tuple):
        raise UserFault(f"{where}: must be a list of {meant}, got {shortly(values)}.")
    for n, value in enumerate(values, start=1):
        if not isinstance(value, list | tuple) or len(value) != width or not all(map(_is_number, value)):
            raise UserFault(
                f"{where}, entry {n}: must be {width} numbers, a list of {meant}; got {shortly(value)}."
            )
    return tuple(tuple(float(number) for number in value) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def hint(given: Any, known: Sequence[str]) -> str:
    """ "did you mean ...?", or what there is."""
    by_small_letters = {name.casefold(): name for name in known}
    near = nearest(str(given).casefold(), by_small_letters)
    listed = ", ".join(f"'{name}'" for name in known)
    return f"did you mean '{by_small_letters[near]}'?" if near else f"there are {listed or 'none'}."
