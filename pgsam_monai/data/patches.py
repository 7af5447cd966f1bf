"""Training patches of 3-D networks: sub-volumes at the planned spacing, cut out of the stored cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from monai.data.utils import affine_to_spacing

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import Entry
from pgsam_monai.data.datasets import places_of
from pgsam_monai.data.filling import fill_store
from pgsam_monai.data.known import known_of
from pgsam_monai.data.samplers import DrawnDataset, SliceDraw
from pgsam_monai.data.splits import FewSlices
from pgsam_monai.data.store import CaseStore, StoredCase
from pgsam_monai.transforms.resample import resample_labels, resample_volume
from pgsam_monai.voxels.grid import Size, grid_size


class AxisWindow(NamedTuple):
    """What a patch takes of a case along one axis."""

    start: int
    """first voxel that is read, on the case's own grid"""
    count: int
    """voxels read"""
    size: int
    """voxels that they become at the planned spacing"""
    offset: int
    """where the patch begins among those; negative: so many zeros before them"""


class PatchDataset(DrawnDataset):
    """Training patches, resampled to the planned spacing and augmented.

    An item is {"image": (C, h, w, d) float32, "label": (1, h, w, d) float32 class indices, "name": str, "slice": int}
    with (h, w, d) = `patch`. An index is an int (the middle of the slice, unaugmented) or a SliceDraw, as
    ClassAwareSliceSampler gives them: the patch is centred at a random voxel of the draw's class in the draw's slice,
    or anywhere in the slice if it was drawn for none. A foreground_share of 0.5 thus gives foreground and background
    patches 1:1, as in RefSAM3D (section 4.1.2). Whatever worker reads it, a draw always gives the same tensors.

    A patch is a window of the grid that inference resamples the whole volume to (`transforms.resample`), see
    `axis_window`; only the slices that it needs are read.

    Args:
        data: [{"image": path(s), "label": path(s)}] of whole volumes. Missing cases are made here.
        store: the store of preprocessed cases.
        patch: voxels of the network's input (rows, columns, slices).
        spacing: mm of the patch's voxels in the same order; None: each case's own.
        augmentation: MONAI (Compose of) random transforms on {"image", "label"}; None leaves patches as they are.
        few_slices: must be None; bundles of slices share this argument.
        progress: show a bar while filling the store.
        labels: the planned values of the classes, where labels are partial: items also have "known" (K+1,) bool, the
            classes that were looked for; others are background in their label.
    Raises:
        ValueError: no cases, a case without label, a patch or spacing that is none, or slices that are chosen one by
            one, among others whose labels would train as well.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        store: CaseStore,
        patch: Sequence[int],
        spacing: Sequence[float] | None,
        augmentation: Callable | None = None,
        few_slices: FewSlices | None = None,
        progress: bool = True,
        labels: Sequence[Entry] | None = None,
    ):
        self.data = list(data)
        known = known_of(self.data, labels)
        _check(self.data, patch, few_slices)
        self.patch: Size = tuple(patch)
        self.spacing = None if spacing is None else tuple(spacing)
        cases = fill_store(store, self.data, progress=progress)
        slices = [range(case.image_shape[-1]) for case in cases]
        places = np.concatenate([places_of(number, every) for number, every in enumerate(slices)])
        super().__init__(cases, places, augmentation, known)
        self.grids = [_grid(case, self.spacing) for case in cases]

    def __getitem__(self, index: int | SliceDraw) -> dict[str, Any]:
        draw = index if isinstance(index, SliceDraw) else None
        case_index, slice_index = self.places[draw.index if draw else index].tolist()
        case = self.cases[case_index]
        centre = (*_centre_in_slice(case, slice_index, draw), slice_index)
        item = self.augmented(self._read(case, centre, self.grids[case_index]), draw)
        return {**self.finished(item, case_index), "name": case.name, "slice": slice_index}

    def _read(self, case: StoredCase, centre: Size, grid: Size) -> dict[str, torch.Tensor]:
        """Image (C, *patch) and label (1, *patch) around a voxel of the case's own grid."""
        windows = [
            axis_window(place, native=native, resampled=resampled, patch=side)
            for place, native, resampled, side in zip(
                centre, case.image_shape[1:], grid, self.patch, strict=True
            )
        ]
        image, label = _read_box(case, windows)
        size = tuple(window.size for window in windows)
        resampled = {"image": resample_volume(image, size), "label": resample_labels(label, size)}
        return {key: _cut(volume, windows, self.patch) for key, volume in resampled.items()}


def axis_window(centre: int, *, native: int, resampled: int, patch: int) -> AxisWindow:
    """Where a patch of `patch` voxels around the native voxel `centre` lies along an axis of `native` voxels that is
    `resampled` voxels long at the planned spacing.

    A patch that would leave the volume is moved back inside, as nnU-Net does: inference never shows the network a
    window that leaves a larger volume, and voxels outside teach nothing. A volume that is smaller than the patch lies
    in its middle between zeros, where MONAI's sliding window puts it.

    The voxels read reach beyond the patch by what interpolation takes into account, and become a whole number of
    voxels, so that a patch's spacing and place are those of the resampled volume to within half of its voxels.
    """
    if resampled <= patch:
        return AxisWindow(start=0, count=native, size=resampled, offset=-((patch - resampled) // 2))
    step = native / resampled
    first = min(max(math.floor((centre + 0.5) / step - patch / 2), 0), resampled - patch)
    margin = 0 if native == resampled else math.ceil(max(1.0, step))
    start = max(math.floor(first * step) - margin, 0)
    stop = min(math.ceil((first + patch) * step) + margin, native)
    size = round((stop - start) / step)
    return AxisWindow(
        start=start, count=stop - start, size=size, offset=min(round(first - start / step), size - patch)
    )


def _check(data: Sequence[Mapping[str, Any]], patch: Sequence[int], few_slices: FewSlices | None) -> None:
    if not data:
        raise UserFault("PatchDataset: no patches to train on; 'data' is empty.")
    if len(patch) != 3 or min(patch) < 1:
        raise UserFault(
            f"PatchDataset: patch must be voxels (rows, columns, slices), at least 1 each, got {patch}."
        )
    if few_slices is not None or any(item.get("slices") is not None for item in data):
        raise UserFault(
            "PatchDataset: patches would train on the labels of slices that weren't chosen; choose whole cases, or"
            " train a network on slices."
        )


def _grid(case: StoredCase, spacing: Sequence[float] | None) -> Size:
    """Size of the case's volume at a spacing."""
    own = affine_to_spacing(np.asarray(case.affine))
    try:
        return grid_size(case.image_shape[1:], own, spacing)
    except ValueError as error:
        raise UserFault(f"Case '{case.name}': {error}") from error


def _centre_in_slice(case: StoredCase, index: int, draw: SliceDraw | None) -> tuple[int, int]:
    """Row and column of a voxel of the draw's class, of any voxel, or of the slice's middle without a draw."""
    H, W = case.image_shape[1:3]
    if draw is None:
        return H // 2, W // 2
    random = np.random.default_rng(draw.seed)
    if not draw.label:
        return int(random.integers(H)), int(random.integers(W))
    label = case.read_slice(index)[1]
    voxels = (label[0] == draw.label).nonzero()
    if not len(voxels):
        raise UserFault(
            f"Case '{case.name}': slice {index} holds no voxel of class {draw.label} that it was drawn for; draw"
            " it with ClassAwareSliceSampler, or with label 0."
        )
    row, column = voxels[random.integers(len(voxels))].tolist()
    return row, column


def _read_box(case: StoredCase, windows: Sequence[AxisWindow]) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (C, rows, columns, slices) float32 and label (1, rows, columns, slices) of the windows' voxels."""
    rows, columns, slices = (slice(window.start, window.start + window.count) for window in windows)
    images, labels = [], []
    for index in range(slices.start, slices.stop):
        image, label = case.read_slice(index)
        images.append(image[:, rows, columns].float())
        labels.append(label[:, rows, columns].clone())  # its own memory: the rest of the slice is freed
    return torch.stack(images, dim=-1), torch.stack(labels, dim=-1)


def _cut(volume: torch.Tensor, windows: Sequence[AxisWindow], patch: Size) -> torch.Tensor:
    """(C, resampled sizes) -> (C, *patch): crops, or pads with zeros."""
    padding: list[int] = []
    for axis, (window, side) in enumerate(zip(windows, patch, strict=True), start=1):
        before = max(-window.offset, 0)
        start = max(window.offset, 0)
        volume = volume.narrow(axis, start, min(side, window.size))
        padding = [before, side - before - volume.shape[axis], *padding]  # torch's order: last axis first
    return F.pad(volume, padding)
