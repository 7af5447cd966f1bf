"""Reads a case's files into channel-first tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import SimpleNamespace
from typing import Any

from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImaged, MapTransform

from pgsam_monai.data.cases import as_paths
from pgsam_monai.data.readers import reader_for


class ReadCased(LoadImaged):
    """LoadImaged with the project's readers, chosen by file suffix: MetaTensors (C, i, j, k), affine RAS+ mm.

    A path, a list of paths (channels, or an archive slice by slice) or a DICOM folder per key. Keys in
    `label_keys` are read as labels (int32, one channel), the others as images (float32). Raises ReadError,
    which names the file and the reason; MONAI's own readers are never tried.

    It is a LoadImaged so that servers (MONAI Label) recognise it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        self._loader = SimpleNamespace(image_only=True)  # the switch that MONAI Label turns off

    def __call__(
        self, data: Mapping[Hashable, Any], reader: ImageReader | None = None
    ) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            files = as_paths(d[key])
            chosen = reader or reader_for(files, "label" if key in self.label_keys else "image")
            tensor, meta = chosen.get_data(chosen.read(files))
            meta["filename_or_obj"] = str(files[0])
            d[key] = MetaTensor(tensor, meta=meta)
            if not self._loader.image_only:
                d[f"{key}_meta_dict"] = d[key].meta
        return d
