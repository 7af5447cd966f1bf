"""Runs one function over many cases in as many processes as cores and free memory allow."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pgsam_monai.base.cores import usable_cores
from pgsam_monai.base.files import visible
from pgsam_monai.base.memory import free_memory_bytes
from pgsam_monai.base.volume import read_geometry
from preprocess.layouts.records import Dataset

Item = TypeVar("Item")
Result = TypeVar("Result")

START_UP_BYTES = 100 << 20
"""Memory a process needs before it has read anything."""


def choose_workers(dataset: Dataset) -> tuple[int, str]:
    """How many processes to measure with, and the limit that decided: cores, free memory, or number of
    cases."""
    limits = {
        f"{usable_cores()} cores": usable_cores(),
        f"{len(dataset.cases)} cases": max(1, len(dataset.cases)),
    }
    free = free_memory_bytes()
    if free is not None:
        need = START_UP_BYTES + _largest_case_bytes(dataset)
        limits[f"{free / 1e9:.1f} GB free memory at {need / 1e9:.1f} GB a case"] = max(
            1, int(0.8 * free / need)
        )
    reason = min(limits, key=limits.get)
    return limits[reason], reason


def run_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Iterator[tuple[int, Result | None]]:
    """Yields (index, result) as results come. `function` and its results must survive pickling.

    A process that dies (killed by the system for want of memory, say) does not end the work: what is left is
    done one item at a time, and an item whose process dies again yields None.
    """
    left = dict(enumerate(items))
    if workers > 1:
        for index, result in _run_pool(function, dict(left), workers):
            del left[index]
            yield index, result
    elif workers == 1:
        for index in list(left):
            yield index, function(left.pop(index))
    while left:
        for index, result in _run_pool(function, dict(left), 1):
            del left[index]
            yield index, result
        if left:
            index = next(iter(left))  # one process takes them in order: the first one missing was its end
            del left[index]
            yield index, None


def _run_pool(
    function: Callable[[Item], Result], items: dict[int, Item], workers: int
) -> Iterator[tuple[int, Result]]:
    """(index, result) of the items done, in order, until all are done or a process has died."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_end_with_parent)
    chunk = 1 if workers == 1 else max(1, min(16, len(items) // (4 * workers)))
    try:
        with warnings.catch_warnings():
            # numpy's own threads are idle and made for forking; _context asks for ours and torch's
            warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
            results = pool.map(function, items.values(), chunksize=chunk)
        yield from zip(items, results, strict=True)
    except BrokenProcessPool:
        pass
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A killed parent cannot tell its processes to stop; without this they would wait for work for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _context() -> multiprocessing.context.BaseContext:
    """Forking costs no second import, but is safe only on Linux while this process has a single thread."""
    alone = threading.active_count() == 1 and "torch" not in sys.modules
    return multiprocessing.get_context("fork" if sys.platform == "linux" and alone else "spawn")


def _largest_case_bytes(dataset: Dataset) -> int:
    """Memory for measuring the case whose files are largest: its voxels twice while being unpacked, and
    masks."""
    sizes = {
        case.name: sum(_size(Path(dataset.folder, name)) for name in case.images) for case in dataset.cases
    }
    case = max(dataset.cases, key=lambda case: sizes[case.name], default=None)
    if case is None:
        return 0
    try:
        geometry = read_geometry(Path(dataset.folder, case.images[0]))
    except Exception:  # an unreadable file is reported when it is measured
        return 4 * sizes[case.name]
    voxels = math.prod(geometry.shape)
    return voxels * (2 * geometry.dtype.itemsize * geometry.channels * len(case.images) + 6)


def _size(path: Path) -> int:
    try:
        return sum(child.stat().st_size for child in visible(path)) if path.is_dir() else path.stat().st_size
    except OSError:
        return 0
