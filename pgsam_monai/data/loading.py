"""How drawn samples come to a training: by processes that live as long as it does."""

from __future__ import annotations

import atexit
import weakref
from typing import Any

import torch
from monai.data import DataLoader

from pgsam_monai.data.samplers import ClassAwareSliceSampler, DrawnDataset


class TrainingLoader(DataLoader):
    """Batches of what a sampler draws; each pass over it is an epoch, whose number the sampler is told before.

    Workers are started once, not once an epoch: the sampler runs here, and each draw that a worker is sent brings its
    own seed, so they need to know of no epoch. A generator of its own keeps the loader from drawing on the network's
    random numbers when it starts its workers, which a resumed training does in another epoch than an undisturbed one.

    Workers that nobody ended before the garbage collector or Python's end comes to them are waited for, 5 s each:
    `end_workers` ends them.
    """

    def __init__(
        self, dataset: DrawnDataset, sampler: ClassAwareSliceSampler, *, batch_size: int, num_workers: int
    ) -> None:
        """
        Args:
            dataset: of training samples; workers see it as it is when the first epoch begins.
            sampler: draws from it.
            batch_size: samples at once.
            num_workers: processes; 0 loads in this one. Each has two batches ready.
        """
        super().__init__(
            dataset, sampler=sampler, batch_size=batch_size, num_workers=num_workers,
            persistent_workers=num_workers > 0, pin_memory=torch.cuda.is_available(), generator=torch.Generator(),
        )  # fmt: skip

    def __iter__(self) -> Any:
        first = self._iterator is None
        iterator = super().__iter__()
        if first and self.num_workers:  # after torch's own, hence before it
            atexit.register(_end_if_there, weakref.ref(self))
        return iterator

    def end_workers(self) -> None:
        """Once nothing is wanted of them any more; another pass starts others."""
        if self._iterator is not None:
            self._iterator._shutdown_workers()
            self._iterator = None


def _end_if_there(loader: weakref.ref[TrainingLoader]) -> None:
    if (there := loader()) is not None:
        there.end_workers()
