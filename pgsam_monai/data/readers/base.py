"""What all readers share: roles, checked grids, errors that name the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from pgsam_monai.base.cases import as_paths, file_suffix
from pgsam_monai.base.errors import UserFault

AFFINE_TOLERANCE_MM = 1e-2
INTEGER_TOLERANCE = 1e-3


class ReadError(UserFault):
    """A file that can't be read as the image or label it should be; the message names the file and the
    reason."""


class CaseReader(ImageReader):
    """Base of the readers: `read` gives [(array (C, i, j, k), affine (4, 4)), …], `get_data` joins their
    channels.

    Args:
        role: "image" (float32) or "label" (int32; ReadError if a value is no integer).
    """

    suffixes: tuple[str, ...] = ()

    def __init__(self, role: str = "image"):
        if role not in ("image", "label"):
            raise UserFault(f"{type(self).__name__}: role must be 'image' or 'label', got {role!r}.")
        self.role = role

    def verify_suffix(self, filename: Any) -> bool:
        return all(file_suffix(path) in self.suffixes for path in as_paths(filename))

    def read(self, data: Any, **kwargs: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        paths = as_paths(data)
        loaded = [self._guarded(path) for path in paths]
        for path, (array, affine) in zip(paths, loaded, strict=True):
            _check_same_grid(paths[0], loaded[0], path, (array, affine))
        return loaded

    def get_data(self, img: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, dict]:
        arrays, affine = [array for array, _ in img], img[0][1]
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=0)
        meta = {
            MetaKeys.AFFINE: affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            MetaKeys.SPACE: SpaceKeys.RAS,
        }
        # a tensor: MONAI would bring an array into C order, a needless transposition of what is
        # read, stored and used slice by slice
        return torch.from_numpy(array if array.flags.writeable else array.copy(order="K")), meta

    def _guarded(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        try:
            array, affine = self.load(path)
            return _as_role(array, self.role), affine
        except ReadError as error:
            raise ReadError(f"{path}: {error}") from error
        except Exception as error:
            raise ReadError(f"{path}: can't be read ({type(error).__name__}: {error}).") from error

    def load(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """One file -> array (C, i, j, k) and affine (4, 4)."""
        raise NotImplementedError


def _as_role(array: np.ndarray, role: str) -> np.ndarray:
    if array.dtype.fields is not None or array.dtype.kind not in "biuf":
        raise ReadError(f"values of type {array.dtype} are no scalars; convert the file to grey values.")
    if role == "image":
        return array.astype(np.float32, copy=False)
    if array.shape[0] != 1:
        raise ReadError(f"a label has one channel, this one has {array.shape[0]}; export one class map.")
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        worst = float(np.abs(array - rounded).max(initial=0.0))
        if not worst <= INTEGER_TOLERANCE:
            raise ReadError(
                f"label values must be integers, got values up to {worst:.3g} off; was it interpolated?"
            )
        array = rounded
    return array.astype(np.int32, copy=False)


def _check_same_grid(first: Path, reference: tuple, path: Path, other: tuple) -> None:
    if reference[0].shape[1:] != other[0].shape[1:]:
        raise ReadError(
            f"{path}: shape {other[0].shape[1:]} differs from {reference[0].shape[1:]} of {first}, same case."
        )
    if not np.allclose(reference[1], other[1], atol=AFFINE_TOLERANCE_MM):
        raise ReadError(
            f"{path}: affine differs from that of {first}, another channel of the same case; resample it."
        )
