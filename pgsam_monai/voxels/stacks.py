"""Stacks: neighbouring slices of a volume that a network sees together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Stack(NamedTuple):
    """Neighbouring slices in rising order, and which of them count where stacks overlap."""

    slices: list[int]
    """indices into the volume; edge slices are repeated where it is thinner than a stack"""
    kept: list[int]
    """positions in `slices` whose results are used"""


def stack_around(index: int, *, depth: int, stack_depth: int) -> list[int]:
    """The `stack_depth` slices of a volume of `depth` slices that lie around slice `index`.

    It has the position stack_depth // 2, unless the volume ends before: then the stack is moved back inside. Of a
    volume thinner than a stack all slices are taken, whatever the index, and its edge slices repeated on both sides.
    """
    last = depth - stack_depth
    start = last // 2 if last < 0 else min(max(index - stack_depth // 2, 0), last)
    return _slices(start, depth=depth, stack_depth=stack_depth)


def stacks_over(depth: int, *, stack_depth: int, overlap: int = 0) -> list[Stack]:
    """Stacks over all `depth` slices of a volume, the last one moved back inside; each slice is kept once.

    Consecutive stacks share `overlap` slices, 0 to stack_depth - 1. A slice in several stacks is kept from the one
    whose middle is nearest (the first of equals): there it sees as far to both sides as can be. A volume thinner than a
    stack is one stack, as in `stack_around`.
    """
    last = depth - stack_depth
    starts = [last // 2] if last < 0 else [*range(0, last, stack_depth - overlap), last]
    middles = np.asarray(starts) + (stack_depth - 1) / 2
    nearest = np.abs(np.arange(depth)[:, None] - middles).argmin(
        axis=1
    )  # always a stack that holds the slice
    return [
        Stack(
            slices=_slices(start, depth=depth, stack_depth=stack_depth),
            kept=(np.flatnonzero(nearest == number) - start).tolist(),
        )
        for number, start in enumerate(starts)
    ]


def _slices(start: int, *, depth: int, stack_depth: int) -> list[int]:
    return [min(max(index, 0), depth - 1) for index in range(start, start + stack_depth)]
