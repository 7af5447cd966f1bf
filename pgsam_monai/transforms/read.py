"""Reads a case's files into channel-first tensors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils.enums import MetaKeys, SpaceKeys

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.errors import root_of
from pgsam_monai.base.volume import ReadError, Volume, read_classes, read_image

image_reader: ContextVar[Callable[[Paths], Volume]] = ContextVar("image_reader", default=read_image)
"""How an image is read: here, or, where it may come from anybody, in another process."""


class ReadCased(MapTransform):
    """What LoadImaged does, with the reader that planning has too: MetaTensors (C, i, j, k), affine RAS+ mm.

    A path, a list of paths (channels, or an archive slice by slice) or a DICOM folder per key. Keys in
    `label_keys` are read as labels (int32, one channel), the others as images (float32); pictures come as
    (C, rows, columns, 1). Raises ReadError, which names the file and the reason; MONAI's own readers are never
    tried: they depend on which optional packages are installed, and know neither colour masks nor archives.

    It is no LoadImaged: MONAI Label wraps those in a transform of its own, which wants every key, the label too.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = read_classes(d[key]) if key in self.label_keys else image_reader.get()(d[key])
            d[key] = _as_tensor(volume, str(as_paths(d[key])[0]))
        return d


def _as_tensor(volume: Volume, name: str) -> MetaTensor:
    """With the voxels' own memory order, in which slices are read, stored and used."""
    voxels = volume.voxels if volume.voxels.flags.writeable else volume.voxels.copy(order="K")
    meta = {
        MetaKeys.AFFINE: volume.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: volume.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(voxels.shape[1:]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
        MetaKeys.SPACE: SpaceKeys.RAS,
        "filename_or_obj": name,
    }
    return MetaTensor(torch.from_numpy(voxels), meta=meta)


@contextmanager
def reading() -> Iterator[None]:
    """Within it, what can't be read raises ReadError itself and not the RuntimeError that MONAI makes of it."""
    try:
        yield
    except RuntimeError as fault:
        cause = root_of(fault)
        if isinstance(cause, ReadError):
            raise cause from fault
        raise


@contextmanager
def watching() -> Iterator[list[Volume]]:
    """Within it, the images that are read, in their order: so that they are measured without being read again."""
    read, seen = image_reader.get(), []

    def noted(paths: Paths) -> Volume:
        seen.append(read(paths))
        return seen[-1]

    token = image_reader.set(noted)
    try:
        yield seen
    finally:
        image_reader.reset(token)
