"""TransUNet's archives, and UA-MT's of the left atrium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pgsam_monai.base.cases import ARCHIVE_SUFFIXES
from pgsam_monai.data.readers.base import CaseReader, ReadError

SLICES_LAST = ("mri_norm2.h5",)
"""names of the archives that hold (x, y, slices), as UA-MT's do"""


class ArchiveReader(CaseReader):
    """TransUNet's files: .npz slices (rows, columns) and .h5 volumes (slices, rows, columns), keys 'image',
    'label'. UA-MT's mri_norm2.h5 hold volumes (x, y, slices) instead.

    A list of .npz files is one volume, its slices in the order given. The role picks the array.
    """

    suffixes = ARCHIVE_SUFFIXES

    def get_data(self, img: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, dict]:
        slices = [array for array, _ in img]
        volume = slices[0] if len(slices) == 1 else np.concatenate(slices, axis=-1)
        return super().get_data([(volume, img[0][1])])

    def load(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                array = self._pick(archive)
        else:
            import h5py

            with h5py.File(path, "r") as archive:
                array = self._pick(archive)
        if array.ndim == 2:
            return array[None, ..., None], np.eye(4)
        if array.ndim != 3:
            raise ReadError(
                f"array '{self.role}' must be (rows, columns) or (slices, rows, columns), got {array.shape}."
            )
        if path.name.lower() in SLICES_LAST:
            return array[None], np.eye(4)
        return np.moveaxis(array, 0, -1)[None], np.eye(4)

    def _pick(self, archive: Any) -> np.ndarray:
        if self.role not in archive:
            raise ReadError(f"has no array '{self.role}', only {sorted(archive)}.")
        return np.asarray(archive[self.role])
