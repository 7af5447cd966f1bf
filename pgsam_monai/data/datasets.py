"""Datasets on the store: whole volumes for validation, fitted slices for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable
from torch.utils.data import Dataset

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.samplers import SliceDraw
from pgsam_monai.data.splits import FewSlices
from pgsam_monai.data.store import CaseStore, StoredCase
from pgsam_monai.transforms.fit import fit_image, fit_label, slice_frame
from pgsam_monai.transforms.stacks import stack_around, unfold_stack


class CaseDataset(Dataset):
    """Preprocessed volumes: {"image": MetaTensor (C, H, W, D) float16, "label": MetaTensor (1, H, W, D),
    "name"}.

    Args:
        data: [{"image": path(s), "label": path(s), …}]; cases missing in the store are made here.
        store: the store of preprocessed cases.
        progress: show a bar while making them.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], store: CaseStore, progress: bool = True):
        self.data = list(data)
        self.cases = store.fill(self.data, progress=progress)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.cases[index].read_volume()


class SliceDataset(Dataset):
    """Training slices, fitted to the network's input and augmented.

    An item is {"image": (C, S, S) float32, "label": (1, S, S) float32 class indices, "name": str, "slice": int}. An
    index is an int (the plain slice) or a SliceDraw (the slice augmented with the draw's seed), as
    ClassAwareSliceSampler gives them; whatever worker reads it, a draw always gives the same tensors.

    With a stack_depth D > 1 image (C, S, S, D) and label (1, S, S, D) are the slice and its neighbours
    (`transforms.stacks.stack_around`), all augmented alike; the sampler still draws slices.

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
    ):
        self.data = list(data)
        _check_stack(stack_depth, self.data, few_slices)
        self.cases = store.fill(self.data, progress=progress)
        self.image_size, self.fit, self.augmentation = image_size, fit, augmentation
        self.stack_depth = stack_depth
        for case in self.cases:
            slice_frame(*case.image_shape[1:3], image_size, fit)
            if not case.has_label:
                raise UserFault(f"Case '{case.name}': training needs a label, its item has none.")
        chosen = [_chosen_slices(case, item) for case, item in zip(self.cases, self.data, strict=True)]
        self.places = np.concatenate([np.empty((0, 2), int), *map(places_of, range(len(chosen)), chosen)])
        if not len(self.places):
            raise UserFault("SliceDataset: no slices to train on; 'data' is empty.")
        if few_slices is not None:
            self.places = self.places[few_slices.draw(len(self.places))]
        self._holding = index_by_class(self.cases, self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int | SliceDraw) -> dict[str, Any]:
        draw = index if isinstance(index, SliceDraw) else None
        case_index, slice_index = self.places[draw.index if draw else index].tolist()
        case = self.cases[case_index]
        item = self._read(case, slice_index)
        if draw is not None and self.augmentation is not None:
            item = augment(item, self.augmentation, draw.seed)
        if self.stack_depth > 1:
            item = {key: unfold_stack(folded, self.stack_depth) for key, folded in item.items()}
        # Losses resize labels for deep supervision, which torch does for 8-bit integers and floats only.
        return {**item, "label": item["label"].float(), "name": case.name, "slice": slice_index}

    @property
    def classes(self) -> list[int]:
        """The foreground classes that some slice holds, ascending."""
        return sorted(self._holding)

    def slices_holding(self, index: int) -> np.ndarray:
        """Indices into this dataset of the slices that hold a class."""
        return self._holding[index]

    def _read(self, case: StoredCase, index: int) -> dict[str, torch.Tensor]:
        """Fitted image (D * C, S, S) and label (D, S, S) of the stack around a slice; no other slice is read."""
        indices = stack_around(index, depth=case.image_shape[-1], stack_depth=self.stack_depth)
        read = {index: case.read_slice(index) for index in dict.fromkeys(indices)}
        image, label = (torch.stack([read[index][n] for index in indices]) for n in range(2))
        frame = slice_frame(*case.image_shape[1:3], self.image_size, self.fit)
        return {
            "image": fit_image(image, frame).flatten(0, 1),
            "label": fit_label(label, frame).flatten(0, 1),
        }


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


def augment(item: Mapping[str, torch.Tensor], augmentation: Callable, seed: int) -> dict[str, torch.Tensor]:
    """A training sample, randomly changed as its seed says; keys and number types stay."""
    if isinstance(augmentation, Randomizable):
        augmentation.set_random_state(seed=seed)
    changed = augmentation(dict(item))
    return {key: torch.as_tensor(changed[key]).as_subclass(torch.Tensor).to(item[key].dtype) for key in item}


def places_of(case_index: int, slices: Sequence[int]) -> np.ndarray:
    """(n, 2): case and slice of each training slice."""
    return np.asarray([[case_index, index] for index in slices], dtype=int)


def index_by_class(cases: Sequence[StoredCase], places: np.ndarray) -> dict[int, np.ndarray]:
    """Class -> rows of `places` (n, 2), case and slice, that hold it."""
    holding: dict[int, list[int]] = {}
    for index, (case_index, slice_index) in enumerate(places.tolist()):
        for label in cases[case_index].slice_labels[slice_index]:
            holding.setdefault(label, []).append(index)
    return {label: np.asarray(indices) for label, indices in holding.items()}
