"""Writes label maps on the grid and in the kind of file that the input came in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged

from pgsam_monai.base.cases import case_name
from pgsam_monai.base.errors import UserFault
from pgsam_monai.voxels.saving import save_label_map


class SavePredictiond(SaveImaged):
    """Writes a restored label map (1, i, j, k), original values on the input's own grid, to `output_dir`.

    File: <case name> and the input's suffix: .nii and .nii.gz give .nii.gz with the input's header geometry
    (affine, sform and qform codes); .nrrd, .nhdr, .mha and .mhd stay what they are; a DICOM series or an
    archive gives .nii.gz; pictures give .png (8 bit, 16 bit above 255, RGB if the type is int32: packed
    colours). The case name is data["name"], else that of the image file. Files appear complete or not at all.

    It is a SaveImaged so that servers that leave the saving out (MONAI Label) recognise it.

    Args:
        keys: prediction keys; MetaTensors whose meta names the input file (`filename_or_obj`).
        output_dir: folder, made if missing.
    Raises:
        ValueError: shapes differ from the input's, no input file is known, or two inputs of this run share a
            name.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | Path, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(
            keys,
            output_dir=output_dir,
            output_postfix="",
            separate_folder=False,
            allow_missing_keys=allow_missing_keys,
        )
        self.output_dir = Path(output_dir)
        self.written: dict[str, str] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            source = d[key].meta.get("filename_or_obj") if isinstance(d[key], MetaTensor) else None
            if not source:
                raise UserFault(
                    f"SavePredictiond: '{key}' doesn't know its input file; run Invertd before saving."
                )
            name = str(d.get("name") or case_name(source))
            if self.written.setdefault(name, str(source)) != str(source):
                raise UserFault(
                    f"SavePredictiond: {source} and {self.written[name]} would both be written as '{name}';"
                    " give each item its own 'name'."
                )
            labels = d[key].detach().cpu().as_tensor().numpy()
            save_label_map(
                labels[0], self.output_dir, name, source, affine=np.asarray(d[key].affine, np.float64)
            )
        return d
