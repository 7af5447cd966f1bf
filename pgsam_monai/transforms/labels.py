"""Original label values <-> class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import Entry, check_labels, class_of
from pgsam_monai.transforms.meta import with_meta_of
from pgsam_monai.voxels.labels import label_indices, label_values


class MapLabelsd(MapTransform):
    """Label values -> class indices 0…K by their place in `labels`; values not listed become background, class 0.

    (MONAI's MapLabelValued leaves unlisted values as they are, where they would collide with indices.)
    The result is uint8, or int16 above 255 classes; the voxels that nobody labelled get the largest index of that type.

    Args:
        keys: label keys; tensors of integers.
        labels: original values, background first, e.g. [0, 5, 205, 420]; a list of values is one class, e.g.
            [0, 5, [205, 420]], and the background may have another value, e.g. [255, 0, 128].
        ignore: value of voxels that nobody labelled; None where there are none.
    """

    ignore: int | None = None
    """an object's own attribute only where there is one: stores are known by the attributes of their transforms"""

    def __init__(
        self,
        keys: KeysCollection,
        labels: Sequence[Entry],
        allow_missing_keys: bool = False,
        ignore: int | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = check_labels(labels)
        if ignore is not None:
            self.ignore = ignore
            if class_of(self.labels, ignore) is not None:
                raise UserFault(
                    f"MapLabelsd: value {ignore} is both a class and what nobody labelled (ignore); plan again."
                )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            values = d[key].numpy() if isinstance(d[key], torch.Tensor) else np.asarray(d[key])
            indices = label_indices(values, self.labels, ignore=self.ignore)
            d[key] = with_meta_of(torch.from_numpy(indices), d[key])
        return d


class SplitPapersd(MapTransform):
    """Of a prediction of two label maps (2, H, W, D), ours and the papers' (`inference.papers`), the second becomes an
    item `papers` of its own; a prediction of one (1, H, W, D) stays as it is."""

    def __init__(self, keys: KeysCollection, papers: str = "papers") -> None:
        super().__init__(keys)
        self.papers = papers

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if len(d[key]) == 2:
                d[key], d[self.papers] = d[key][:1], d[key][1:]
        return d


class RestoreLabelsd(MapTransform):
    """The inverse of MapLabelsd: class indices -> original values (the first of those that are one class), in the
    smallest of uint8, uint16 and int32 that holds all of `labels` (not only those present, so that all predictions of
    a model have one type)."""

    def __init__(
        self, keys: KeysCollection, labels: Sequence[Entry], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = check_labels(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            indices = d[key].cpu().numpy() if isinstance(d[key], torch.Tensor) else np.asarray(d[key])
            d[key] = with_meta_of(torch.from_numpy(label_values(indices, self.labels)), d[key])
        return d
