"""Fills a store with many cases: worker processes bounded by cores and free memory, a progress bar,
resumable."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from pgsam_monai.base.cases import VOLUME_SUFFIXES, as_paths, file_suffix
from pgsam_monai.base.cores import usable_cores
from pgsam_monai.base.memory import free_memory_bytes
from pgsam_monai.base.room import require_room
from pgsam_monai.base.volume import ReadError, read_geometry
from pgsam_monai.data.store import CaseStore, StoredCase, StoreError

logger = logging.getLogger(__name__)

BYTES_PER_VOXEL = 24
"""peak of making one case, per voxel and channel, measured on CT volumes"""
BYTES_STORED = 0.5
"""on the disk per voxel and channel, compressed, at least; 0.6 to 1.7 were measured"""
UNPACKED = 4
"""how much larger than its file a case is taken to be where the header doesn't tell"""
MEMORY_SHARE = 0.7
"""of the free memory that filling may take"""
WORTH_PROCESSES_VOXELS = 2_000_000
"""below this many in all cases together one process makes them: starting others would take about as long"""


@dataclass(frozen=True, kw_only=True)
class WorkerChoice:
    """How many processes fill the store, and what set the number."""

    workers: int
    bound: str
    """'cores', 'memory', 'cases', 'size' or 'argument'"""


def fill_store(
    store: CaseStore, cases: Sequence[Mapping[str, Any]], *, progress: bool = True
) -> list[StoredCase]:
    """Makes what is missing, stale or damaged and returns all cases in order.

    Several processes may fill one store: each case is made once, by whoever locks it first. A killed run
    leaves its finished cases, and the next one goes on from there.

    Raises:
        StoreError: with all failing cases, after the others were made.
        UserFault: the disk has no room for what is missing.
    """
    found = [store.find(case) for case in cases]
    missing = [index for index, entry in enumerate(found) if entry is None]
    if missing:
        voxels = sum(case_memory(cases[index]) // BYTES_PER_VOXEL for index in missing)
        require_room(
            store.root, int(voxels * BYTES_STORED), what="Preprocessed cases take",
            remedy="keep them elsewhere with --store_dir",
        )  # fmt: skip
        reasons = _make_all(store, [cases[index] for index in missing], progress)
        if reasons:
            raise StoreError(reasons)
        for index in missing:
            found[index] = store.entry(cases[index])
    return found


def choose_workers(cases: Sequence[Mapping[str, Any]], workers: int | None = None) -> WorkerChoice:
    """Processes for making these cases: the given number, else what cores and free memory allow.

    Under torchrun the ranks of a machine share both. Never more than cases, and one where all are soon made.
    """
    if workers is not None:
        return WorkerChoice(workers=max(1, min(workers, len(cases))), bound="argument")
    sizes = [case_memory(case) for case in cases]
    if 0 < sum(sizes) < WORTH_PROCESSES_VOXELS * BYTES_PER_VOXEL:
        return WorkerChoice(workers=1, bound="size")
    ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    free = (free_memory_bytes() or 0) * MEMORY_SHARE
    needed = max([*sizes, 1])
    limits = {"cores": usable_cores() // ranks, "memory": int(free / needed) // ranks, "cases": len(cases)}
    bound = min(limits, key=limits.__getitem__)
    return WorkerChoice(workers=max(1, limits[bound]), bound=bound)


def case_memory(case: Mapping[str, Any]) -> int:
    """Bytes that making the case is expected to take at its peak, from headers and file sizes; no voxels are
    read."""
    return sum(_voxels(Path(path)) for path in as_paths(case["image"])) * BYTES_PER_VOXEL


def _voxels(path: Path) -> int:
    if not path.exists():
        return 0
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir()) // 2
    if file_suffix(path) in VOLUME_SUFFIXES:
        try:
            geometry = read_geometry(path)
        except ReadError:  # making the case will say so
            return 0
        return math.prod(geometry.shape) * geometry.channels
    return path.stat().st_size * UNPACKED // 2


class _Making(Dataset):
    """The DataLoader's workers are the process pool: portable, single-threaded, ended with their parent."""

    def __init__(self, store: CaseStore, cases: Sequence[Mapping[str, Any]]):
        self.store, self.cases = store, cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[int, str, str]:
        return (index, *_make_one(self.store, self.cases[index], wait=False))


def _make_one(store: CaseStore, case: Mapping[str, Any], wait: bool) -> tuple[str, str]:
    """('', '') made; ('busy', '') another process is at it; (case name, reason) failed."""
    try:
        return ("", "") if store.make(case, wait=wait) is not None else ("busy", "")
    except StoreError as error:
        return next(iter(error.reasons.items()))


def _make_all(store: CaseStore, cases: Sequence[Mapping[str, Any]], progress: bool) -> dict[str, str]:
    """Makes the cases; returns the reason of each that failed."""
    choice = choose_workers(cases, store.workers)
    logger.info(
        "Filling %s: %d cases, %d worker(s), bound by %s.",
        store.root,
        len(cases),
        choice.workers,
        choice.bound,
    )
    results = DataLoader(
        _Making(store, cases),
        batch_size=None,
        num_workers=0 if choice.workers == 1 else choice.workers,
        collate_fn=_as_is,
        prefetch_factor=None if choice.workers == 1 else 1,
        generator=torch.Generator(),  # its own, so that filling leaves the run's random numbers alone
    )
    reasons: dict[str, str] = {}
    busy: list[int] = []
    with tqdm(total=len(cases), desc="preprocessing", unit="case", disable=not progress) as bar:
        for index, name, reason in results:
            if name == "busy" and not reason:
                busy.append(index)
                continue
            bar.update()
            if name:
                reasons[name] = reason
        for index in busy:
            name, reason = _make_one(store, cases[index], wait=True)
            bar.update()
            if name:
                reasons[name] = reason
    return reasons


def _as_is(result: tuple[int, str, str]) -> tuple[int, str, str]:
    return result
