"""Which slices a training epoch sees: a pure function of seed, epoch and position among its draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from monai.transforms import Randomizable
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.known import is_known, without_unknown
from pgsam_monai.data.store import StoredCase

SEED_LIMIT = 2**32
EPOCH, ANY, CLASS = 1, 2, 3
"""First numbers of random generators' seeds, which keep them apart."""


@dataclass(frozen=True)
class SliceDraw:
    """One training sample: which slice, the seed of its augmentation, and what it was drawn for."""

    index: int
    """into the dataset"""
    seed: int
    """0 to 2^32 - 1"""
    label: int = 0
    """the class that the slice was drawn for, 1 to K; 0: a uniform draw"""


class DrawnDataset(Dataset):
    """Training samples around slices of stored cases: what ClassAwareSliceSampler draws from."""

    def __init__(
        self,
        cases: Sequence[StoredCase],
        places: np.ndarray,
        augmentation: Callable | None,
        known: Sequence[torch.Tensor] | None = None,
    ) -> None:
        """
        Args:
            cases: of training, with labels.
            places: (n, 2), case and slice of each sample.
            known: of each case which classes were looked for (`known.known_of`): no other is drawn; None for all.
            augmentation: MONAI (Compose of) random transforms on {"image", "label"}; None leaves samples as they are.

        Raises:
            ValueError: a case without label, or one in which none of the classes was looked for.
        """
        for number, case in enumerate(cases):
            if not case.has_label:
                raise UserFault(f"Case '{case.name}': training needs a label, its item has none.")
            if known is not None and not known[number][1:].any():
                raise UserFault(
                    f"Case '{case.name}': none of the planned structures was looked for in it, so it teaches nothing;"
                    " correct its structures, or leave it out, and plan again."
                )
        self.cases, self.places, self.augmentation, self.known = cases, places, augmentation, known
        holding: dict[int, list[int]] = {}
        for index, (case_index, slice_index) in enumerate(places.tolist()):
            for label in cases[case_index].slice_labels[slice_index]:
                if known is None or is_known(known[case_index], label):
                    holding.setdefault(label, []).append(index)
        self._holding = {label: np.asarray(indices) for label, indices in holding.items()}

    def __len__(self) -> int:
        return len(self.places)

    @property
    def classes(self) -> list[int]:
        """The foreground classes that some slice holds, ascending."""
        return sorted(self._holding)

    def slices_holding(self, label: int) -> np.ndarray:
        """Indices into this dataset of the slices that hold a class."""
        return self._holding[label]

    def finished(self, item: Mapping[str, torch.Tensor], case_index: int) -> dict[str, torch.Tensor]:
        """The item with a label that losses can resize (torch resizes 8-bit integers and floats only) and, of partial
        labels, with what is "known" of its case (K+1,), in whose label the rest is background."""
        label = item["label"].float()
        if self.known is None:
            return {**item, "label": label}
        known = self.known[case_index]
        return {**item, "label": without_unknown(label, known), "known": known}

    def augmented(self, item: Mapping[str, torch.Tensor], draw: SliceDraw | None) -> dict[str, torch.Tensor]:
        """The item, randomly changed as its draw's seed says; keys and number types stay."""
        if draw is None or self.augmentation is None:
            return dict(item)
        if isinstance(self.augmentation, Randomizable):
            self.augmentation.set_random_state(seed=draw.seed)
        changed: dict[str, Any] = self.augmentation(dict(item))
        return {
            key: torch.as_tensor(changed[key]).as_subclass(torch.Tensor).to(value.dtype)
            for key, value in item.items()
        }


class ClassAwareSliceSampler(DistributedSampler):
    """Draws slices, a share of them for a class they hold, none again before its turn.

    Of an epoch's draws `foreground_share`, rounded, choose a class, each alike or by `class_weights`, and then the next
    of the slices that hold it; the others the next of all slices. Which one is next: slices come in shuffled passes,
    each of which shows all of them once. Draws of any slice begin an epoch with a new pass if it has at least as many
    as there are slices, so that it shows every slice, as a DataLoader that shuffles; else they go on where the last
    epoch ended. Draws for a class begin anew in each epoch.

    All of it is a function of the arguments, epoch and position alone: not of workers, earlier epochs or what ran
    before, so that a resumed run draws what an undisturbed one draws. Rank r of w takes the positions r, r + w, …; all
    ranks draw equally many.

    It is a DistributedSampler because MONAI's trainers call `set_epoch` on those, in single processes too.
    Leave the trainer's `epoch_length` unset: an epoch is one pass over the loader.

    Args:
        dataset: what to draw from.
        draws_per_epoch: over all ranks; rounded up to a multiple of their number.
        foreground_share: 0 to 1. Without any labelled slice all draws are uniform.
        seed: of the whole run.
        class_weights: relative chance of classes 1 to K; default all 1.
        rank, world_size: default those of torch.distributed, where it runs.
    """

    def __init__(
        self,
        dataset: DrawnDataset,
        draws_per_epoch: int,
        foreground_share: float = 0.5,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        running = dist.is_available() and dist.is_initialized()
        world = world_size if world_size is not None else dist.get_world_size() if running else 1
        place = rank if rank is not None else dist.get_rank() if running else 0
        super().__init__(dataset, num_replicas=world, rank=place, shuffle=True, seed=seed)
        if draws_per_epoch < 1 or not 0 <= foreground_share <= 1:
            raise UserFault(
                "ClassAwareSliceSampler: needs draws_per_epoch >= 1 and foreground_share from 0 to 1, got"
                f" {draws_per_epoch} and {foreground_share}."
            )
        self.foreground_share = foreground_share
        self.num_samples = -(-draws_per_epoch // world)
        self.total_size = self.num_samples * world
        self.classes, self.chances = _class_chances(dataset.classes, class_weights)

    def __iter__(self) -> Iterator[SliceDraw]:
        return iter(self.draws()[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def draws(self) -> list[SliceDraw]:
        """What all ranks draw in the current epoch, by position."""
        random = np.random.default_rng([EPOCH, self.seed, self.epoch])
        seeds = random.integers(SEED_LIMIT, size=self.total_size)
        labels = np.zeros(self.total_size, dtype=int)
        if len(self.classes):
            chosen = random.permutation(self.total_size)[: round(self.foreground_share * self.total_size)]
            labels[chosen] = random.choice(self.classes, p=self.chances, size=len(chosen))
        indices = np.empty(self.total_size, dtype=int)
        for label in np.unique(labels).tolist():
            (positions,) = np.nonzero(labels == label)
            indices[positions] = self._next(label, len(positions))
        return [
            SliceDraw(*numbers)
            for numbers in zip(*map(np.ndarray.tolist, (indices, seeds, labels)), strict=True)
        ]

    def _next(self, label: int, count: int) -> np.ndarray:
        """The slices that `count` draws for a class, or for none (0), take in the current epoch."""
        if label:
            key = [CLASS, self.seed, self.epoch, label]
            return _passes(self.dataset.slices_holding(label), first=0, count=count, key=key)
        slices = np.arange(len(self.dataset))
        per_epoch = count if count < len(slices) else -(-count // len(slices)) * len(slices)
        return _passes(slices, first=self.epoch * per_epoch, count=count, key=[ANY, self.seed])


def _passes(slices: np.ndarray, *, first: int, count: int, key: Sequence[int]) -> np.ndarray:
    """Entries `first` to `first + count - 1` (count >= 1) of an endless walk: pass after pass over the slices (n,), in
    orders that depend on key and the pass's number alone."""
    begun, ended = first // len(slices), (first + count - 1) // len(slices)
    orders = [np.random.default_rng([*key, number]).permutation(slices) for number in range(begun, ended + 1)]
    return np.concatenate(orders)[first - begun * len(slices) :][:count]


def _class_chances(classes: Sequence[int], weights: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """The classes present and their probabilities; a weight of 0 leaves a class to the uniform draws."""
    chances = np.ones(len(classes))
    if weights is not None:
        if len(classes) and len(weights) < max(classes):
            raise UserFault(
                f"ClassAwareSliceSampler: {len(weights)} class_weights for classes 1 to {max(classes)}."
            )
        chances = np.asarray([weights[index - 1] for index in classes], dtype=float)
    kept = chances > 0
    present = np.asarray(classes, dtype=int)[kept]
    return present, chances[kept] / chances[kept].sum() if kept.any() else chances[kept]
