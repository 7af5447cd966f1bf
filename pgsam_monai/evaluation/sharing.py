"""How many trainings of a series run at a time, and what each has of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pgsam_monai.base.child_processes import running_bytes
from pgsam_monai.base.cores import usable_cores
from pgsam_monai.base.memory import free_memory_bytes
from pgsam_monai.evaluation.trainings import Place, Training

MEMORY_MARGIN = 1.25
"""Free memory that a further training must find, over what the largest of those at work takes: validation, on whole
volumes, comes later."""
LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Places for trainings, and why there are so many."""

    places: tuple[Place, ...]
    why: str
    """a sentence"""
    waits: bool
    """whether further trainings wait until memory is free: where nobody said how many there shall be"""


def share_machine(wanted: int, *, device: str | None, parallel: int | None) -> Shares:
    """Places for `wanted` trainings: one per GPU, or one per core with its share of the cores as threads.

    How many threads a training has doesn't depend on what else runs, since sums come out otherwise by a rounding. Where
    OMP_NUM_THREADS is set, that holds.

    Args:
        wanted: trainings in all.
        device: "cpu", "cuda", …, as for the trainings; None: a GPU if there is one.
        parallel: so many at a time, whatever the machine has; None: what it bears.
    """
    gpus, cores = [] if device not in (None, "cuda") else visible_gpus(), usable_cores()
    limits = {"trainings": wanted, "GPUs" if gpus else "cores": len(gpus) or cores}
    bound = min(limits, key=limits.__getitem__)
    number = min(parallel or limits[bound], wanted)
    threads = None if gpus or "OMP_NUM_THREADS" in os.environ else max(1, cores // number)
    places = tuple(
        Place(threads=threads, gpu=gpus[place % len(gpus)] if gpus else None) for place in range(number)
    )
    reason = "--parallel" if parallel else f"the {limits[bound]} {bound}"
    each = "one GPU" if gpus else f"{threads or os.environ['OMP_NUM_THREADS']} of {cores} cores"
    return Shares(
        places=places, why=f"{number} at a time, bound by {reason}, each with {each}.", waits=not (parallel or gpus)
    )  # fmt: skip


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[: torch.cuda.device_count()] or [str(number) for number in range(torch.cuda.device_count())]


class Admission:
    """Lets trainings begin one after the other: each once the one before shows what it takes, and that is free."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` hears that memory is the bound, once."""
        self.say = say
        self._begun: dict[Path, float] = {}
        """checkpoints of the trainings at work, and when each began (s of the clock)"""
        self._said = False
        self._one_by_one = Lock()

    def wait(self, training: Training) -> None:
        """Return when this one may begin."""
        with self._one_by_one:
            while self._begun and not (self._are_known() and self._has_room()):
                time.sleep(LOOK_S)
            self._begun[training.checkpoint] = time.time()

    def ended(self, training: Training) -> None:
        """Its memory is free."""
        self._begun.pop(training.checkpoint, None)

    def _are_known(self) -> bool:
        """Whether all at work have finished an epoch since they began."""
        return all(
            file.is_file() and file.stat().st_mtime >= since for file, since in list(self._begun.items())
        )

    def _has_room(self) -> bool:
        taken, free = max(running_bytes(), default=0), free_memory_bytes()
        if free is None or free > MEMORY_MARGIN * taken:
            return True
        if not self._said:
            self.say(
                f"Bound by memory: a training takes {taken / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; the next "
                "begins when there is room."
            )
            self._said = True
        return False
