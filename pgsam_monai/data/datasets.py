"""Datasets on the store: whole volumes for validation, fitted slices for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import Entry
from pgsam_monai.data.filling import fill_store
from pgsam_monai.data.known import known_of
from pgsam_monai.data.samplers import DrawnDataset, SliceDraw
from pgsam_monai.data.splits import FewSlices
from pgsam_monai.data.store import CaseStore, StoredCase
from pgsam_monai.transforms.fit import fit_image, fit_label
from pgsam_monai.voxels.frame import LINEAR, SliceFrame, slice_frame
from pgsam_monai.voxels.stacks import stack_around

Extras = Callable[..., Mapping[str, torch.Tensor]]
"""(name of a case, [index of a slice]) -> further entries of its items"""


class CaseDataset(Dataset):
    """Preprocessed volumes: {"image": MetaTensor (C, H, W, D) float16, "label": MetaTensor (1, H, W, D),
    "name"}.

    Args:
        data: [{"image": path(s), "label": path(s), …}]; cases missing in the store are made here.
        store: the store of preprocessed cases.
        progress: show a bar while making them.
        labels: the planned values of the classes, where labels are partial: items also have "known" (K+1,) bool, the
            classes that were looked for.
        extras: what else the items of a case hold, by its name; None for nothing.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        store: CaseStore,
        progress: bool = True,
        labels: Sequence[Entry] | None = None,
        extras: Extras | None = None,
    ):
        self.data, self.extras = list(data), extras
        self.known = known_of(self.data, labels)
        self.cases = fill_store(store, self.data, progress=progress)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume = self.cases[index].read_volume()
        if self.extras is not None:
            volume |= self.extras(self.cases[index].name)
        return volume if self.known is None else {**volume, "known": self.known[index]}


class SliceDataset(DrawnDataset):
    """Training slices, fitted to the network's input and augmented.

    An item is {"image": (C, S, S) float32, "label": (1, S, S) float32 class indices, "name": str, "slice": int}. An
    index is an int (the plain slice) or a SliceDraw (the slice augmented with the draw's seed), as
    ClassAwareSliceSampler gives them; whatever worker reads it, a draw always gives the same tensors.

    With a stack_depth D > 1 image (C, S, S, D) and label (1, S, S, D) are the slice and its neighbours
    (`voxels.stacks.stack_around`), all augmented alike; the sampler still draws slices.

    Args:
        data: [{"image": path(s), "label": path(s), ("slices": [int])}] of whole volumes; "slices" restricts a
            case to these indices along the last axis of the preprocessed volume. Missing cases are made here.
        store: the store of preprocessed cases.
        image_size: side S, pixels.
        fit: "pad" or "stretch" (`transforms.fit`).
        augmentation: MONAI (Compose of) random transforms on {"image", "label"}; None leaves slices as they
        are.
        few_slices: trains on some of the slices only (`splits.splits.FewSlices`); None on all.
        progress: show a bar while filling the store.
        stack_depth: slices per item, D.
        labels: the planned values of the classes, where labels are partial: items also have "known" (K+1,) bool, the
            classes that were looked for; others are background in their label.
        extras: what else the items of a case's slice hold, by name and index; None for nothing.
        sampling: how slices come to the network's size (`voxels.frame.VIA`).
    Raises:
        ValueError: no slices, a case without label, an unknown fit, or stacks of slices that are chosen one by one,
            whose neighbours' labels would train as well.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        store: CaseStore,
        image_size: int,
        fit: str = "pad",
        augmentation: Callable | None = None,
        few_slices: FewSlices | None = None,
        progress: bool = True,
        stack_depth: int = 1,
        labels: Sequence[Entry] | None = None,
        extras: Extras | None = None,
        sampling: str = LINEAR,
    ):
        self.data, self.extras = list(data), extras
        known = known_of(self.data, labels)
        _check_stack(stack_depth, self.data, few_slices)
        cases = fill_store(store, self.data, progress=progress)
        self.image_size, self.fit, self.stack_depth = image_size, fit, stack_depth
        self.sampling = sampling
        for case in cases:
            self._frame(case)
        chosen = [_chosen_slices(case, item) for case, item in zip(cases, self.data, strict=True)]
        places = np.concatenate([np.empty((0, 2), int), *map(places_of, range(len(chosen)), chosen)])
        if not len(places):
            raise UserFault("SliceDataset: no slices to train on; 'data' is empty.")
        if few_slices is not None:
            places = places[few_slices.draw(len(places))]
        super().__init__(cases, places, augmentation, known)

    def __getitem__(self, index: int | SliceDraw) -> dict[str, Any]:
        draw = index if isinstance(index, SliceDraw) else None
        case_index, slice_index = self.places[draw.index if draw else index].tolist()
        case = self.cases[case_index]
        item = self.augmented(self._read(case, slice_index), draw)
        if self.stack_depth > 1:
            item = {key: _unfold_stack(folded, self.stack_depth) for key, folded in item.items()}
        extra = {} if self.extras is None else self.extras(case.name, slice_index)
        return {**self.finished(item, case_index), **extra, "name": case.name, "slice": slice_index}

    def _read(self, case: StoredCase, index: int) -> dict[str, torch.Tensor]:
        """Fitted image (D * C, S, S) and label (D, S, S) of the stack around a slice; no other slice is read."""
        indices = stack_around(index, depth=case.image_shape[-1], stack_depth=self.stack_depth)
        read = {index: case.read_slice(index) for index in dict.fromkeys(indices)}
        image, label = (torch.stack([read[index][n] for index in indices]) for n in range(2))
        frame = self._frame(case)
        return {
            "image": fit_image(image, frame).flatten(0, 1),
            "label": fit_label(label, frame).flatten(0, 1),
        }

    def _frame(self, case: StoredCase) -> SliceFrame:
        return slice_frame(*case.image_shape[1:3], self.image_size, self.fit, self.sampling)


def _unfold_stack(channels: torch.Tensor, stack_depth: int) -> torch.Tensor:
    """(D * C, H, W), slice after slice -> (C, H, W, D)."""
    return channels.unflatten(0, (stack_depth, -1)).movedim(0, -1)


def _check_stack(stack_depth: int, data: Sequence[Mapping[str, Any]], few_slices: FewSlices | None) -> None:
    if stack_depth < 1:
        raise UserFault(f"SliceDataset: stack_depth must be at least 1, got {stack_depth}.")
    chosen = few_slices is not None or any(item.get("slices") is not None for item in data)
    if chosen and stack_depth > 1:
        raise UserFault(
            f"SliceDataset: stacks of {stack_depth} slices would train on the labels of neighbours that weren't chosen;"
            " choose whole cases, or train with stack_depth 1."
        )


def _chosen_slices(case: StoredCase, item: Mapping[str, Any]) -> list[int]:
    depth = case.image_shape[-1]
    if item.get("slices") is None:
        return list(range(depth))
    slices = [int(index) for index in item["slices"]]
    if not slices or min(slices) < 0 or max(slices) >= depth:
        raise UserFault(f"Case '{case.name}': 'slices' must be indices from 0 to {depth - 1}, got {slices}.")
    return slices


def places_of(case_index: int, slices: Sequence[int]) -> np.ndarray:
    """(n, 2): case and slice of each training slice."""
    return np.asarray([[case_index, index] for index in slices], dtype=int)
