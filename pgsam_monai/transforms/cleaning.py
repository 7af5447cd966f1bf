"""Predicted structures without stray pieces and holes, as a bundle's postprocessing.json or its plan says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from pgsam_monai.base.cleaning import LARGEST, read_cleanings
from pgsam_monai.base.labels import Entry, class_of
from pgsam_monai.transforms.meta import with_meta_of
from pgsam_monai.voxels.cleaning import clean


class CleanClassesd(MapTransform):
    """Cleans a map of class indices (1, H, W, D), structure by structure (`base.cleaning`).

    Args:
        keys: of predictions.
        labels: original values, background first; their places are the class indices.
        largest: values of the structures that the plan cuts to their largest piece.
        file: a postprocessing.json; where there is one, it says what is done, and the plan doesn't.
        enabled: False leaves predictions as they are.
    """

    def __init__(
        self, keys: KeysCollection, *, labels: Sequence[Entry], largest: Sequence[int], file: str | Path,
        enabled: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(keys)
        chosen = read_cleanings(file, labels) if Path(file).is_file() else dict.fromkeys(largest, LARGEST)
        classes = {class_of(labels, value): cleaning for value, cleaning in chosen.items()}
        self.cleanings = {index: cleaning for index, cleaning in classes.items() if index} if enabled else {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d) if self.cleanings else ():
            indices = d[key].cpu().numpy() if isinstance(d[key], torch.Tensor) else np.asarray(d[key])
            cleaned = clean(indices[0], self.cleanings)[None]
            d[key] = with_meta_of(torch.from_numpy(cleaned), d[key])
        return d
