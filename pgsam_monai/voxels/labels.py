"""Original label values <-> class indices, in voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import Entry, restored_values, values_of

LOOKUP_LIMIT = 1 << 16


def label_indices(values: np.ndarray, labels: Sequence[Entry], *, ignore: int | None = None) -> np.ndarray:
    """Original values, any shape -> indices into `labels`, 0 where not listed, the type's largest where `ignore`."""
    dtype = np.uint8 if len(labels) + (ignore is not None) <= 256 else np.int16
    pairs = [(value, index) for index, entry in enumerate(labels) for value in values_of(entry)]
    if ignore is not None:
        pairs.append((ignore, np.iinfo(dtype).max))
    known, order = np.asarray(sorted(pairs)).T
    values = np.asarray(values)
    if values.dtype.kind not in "iub":
        values = values.astype(np.int64)
    if values.size and values.min() >= 0 and values.max() < LOOKUP_LIMIT:
        table = np.zeros(LOOKUP_LIMIT, dtype=dtype)
        small = known < LOOKUP_LIMIT
        table[known[small]] = order[small]
        return table[values]
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[places] == values, order[places], 0).astype(dtype)


def label_values(indices: np.ndarray, labels: Sequence[Entry]) -> np.ndarray:
    """Indices, any shape -> original values; ValueError for an index beyond the labels."""
    values = restored_values(labels)
    highest = max(values)
    dtype = np.uint8 if highest < 1 << 8 else np.uint16 if highest < 1 << 16 else np.int32
    if indices.size and (indices.max() >= len(labels) or indices.min() < 0):
        raise UserFault(
            f"RestoreLabelsd: class indices must be 0 to {len(labels) - 1}, got {int(indices.min())} to"
            f" {int(indices.max())}; the network and 'labels' belong to different plans."
        )
    if list(values) == list(range(len(values))):
        return indices.astype(dtype, copy=False)
    return np.asarray(values, dtype=dtype)[indices]
