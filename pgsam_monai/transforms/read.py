"""Reads a case's files into channel-first tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from pgsam_monai.base.cases import as_paths
from pgsam_monai.data.readers import reader_for


class ReadCased(MapTransform):
    """What LoadImaged does, with the project's readers, chosen by file suffix: MetaTensors (C, i, j, k), RAS+ mm.

    A path, a list of paths (channels, or an archive slice by slice) or a DICOM folder per key. Keys in
    `label_keys` are read as labels (int32, one channel), the others as images (float32). Raises ReadError,
    which names the file and the reason; MONAI's own readers are never tried.

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
            files = as_paths(d[key])
            reader = reader_for(files, "label" if key in self.label_keys else "image")
            tensor, meta = reader.get_data(reader.read(files))
            meta["filename_or_obj"] = str(files[0])
            d[key] = MetaTensor(tensor, meta=meta)
        return d
