"""What is written for a case, where, and whether it may be: label map or DICOM-SEG, overlay, page, guide map."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import as_paths, file_suffix
from pgsam_monai.base.files import scratch
from pgsam_monai.base.replacing import note_written, require_replaceable
from pgsam_monai.base.room import require_room
from pgsam_monai.base.volume import Volume
from pgsam_monai.predicting.segmentations import ENDING, segmentation_of
from pgsam_monai.predicting.summary import Summary
from pgsam_monai.voxels.saving import prediction_suffix

SAME, DICOM_SEG = FORMATS = ("same", "dicom-seg")
RAW = {".nhdr": (".raw", ".raw.gz"), ".mhd": (".raw", ".zraw")}
"""What holds the voxels of files that are headers alone."""
LEAST_BYTES = 4096
SHARE = {"map": 0.01, "page": 0.1}
"""Of an image's bytes, what results take at the least."""


@dataclass(frozen=True, kw_only=True)
class Legend:
    """How the values of a label map are shown."""

    labels: Mapping[str, int]
    """foreground names -> values"""
    background: int | None = 0
    """the value that is no class; None: all that `labels` does not name"""
    window: tuple[float, float] | None = None
    """grey values that are black and white; None: by the image"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network found in an image, as a summary measures it."""

    label_map: np.ndarray
    """(i, j, k), values as in the file"""
    affine: np.ndarray
    """(4, 4) voxel -> mm RAS+"""
    image: Volume | None
    """as it was read; None where that isn't known"""
    started: float
    """when the case was begun, s of `time.perf_counter`"""
    soft_dice: Mapping[str, float] = field(default_factory=dict)
    """class name -> Soft Dice Confidence, see `inference.confidence`"""


@dataclass(frozen=True, kw_only=True)
class Products:
    """What a user wants of each case, [{"name", "image": path or paths}] of `inputs.list_inputs`."""

    folder: Path
    format: str = SAME
    """"same", label maps in the kind of file that images come in; or "dicom-seg" """
    overlays: bool = False
    html: bool = False
    guide_maps: bool = False
    overwrite: bool = False
    """replace whatever is there, but inputs"""
    summary: Summary | None = None
    """told of each case that was written"""

    def files(self, case: Mapping[str, Any]) -> list[Path]:
        """All that is written for a case, the label map or segmentation first."""
        name, source = case["name"], as_paths(case["image"])[0]
        endings = [ENDING] if self.format == DICOM_SEG else [prediction_suffix(source)]
        endings += RAW.get(endings[0], ())
        return [
            *(self.folder / f"{name}{ending}" for ending in endings),
            *([self.folder / f"overlays/{name}.png"] if self.overlays else []),
            *([self.folder / f"{name}.html"] if self.html else []),
            *([self.folder / f"guide_maps/{name}.png"] if self.guide_maps else []),
        ]

    def prepare(self, cases: Sequence[Mapping[str, Any]], *, also_read: Sequence[str | Path] = ()) -> None:
        """Make the folder; or refuse before anything is computed.

        Raises:
            UserFault: something would be lost, or there is too little room.
        """
        inputs = [path for case in cases for path in as_paths(case["image"])]
        files = [file for case in cases for file in self.files(case)]
        read = [*inputs, *also_read]
        require_replaceable(files, inputs=read, overwrite=self.overwrite)
        if self.summary is not None:  # which keeps aside what isn't ours
            require_replaceable(self.summary.files(), inputs=read, overwrite=True)
        with scratch(self.folder):  # whether something can be written is known now, not in an hour
            self._check_room(inputs, len(files))

    def write(
        self,
        case: Mapping[str, Any],
        save: Callable[[Path], Path],
        legend: Legend,
        *,
        answer: Answer | None = None,
        draw: Callable[[Path], Path] | None = None,
        **maker: Any,
    ) -> Path:
        """Write what is wanted of a case; returns the label map or segmentation.

        Args:
            case: one of those that were prepared.
            save: writes the label map into a folder and returns its file.
            legend: of its values.
            answer: what the summary tells of, if one is wanted.
            draw: draws the guide map of a label map's file and returns the picture, if that is wanted.
            maker: `bundle` and `guided` of `segmentations.segmentation_of`.
        """
        file, summary = self.files(case)[0], self.summary if answer else None
        if summary is not None:
            summary.forget(case["name"])
        segmented = self.format == DICOM_SEG
        with scratch(self.folder) if segmented else nullcontext(self.folder) as folder:
            label_map = save(folder)
            if segmented:
                segmentation_of(case["image"], label_map, legend.labels, file=file, background=legend.background,
                                **maker)  # fmt: skip
            note_written(*(path for path in self._of_one(file) if path.exists()))
            self._write_pictures(case, label_map, legend)
            if draw is not None:
                note_written(draw(label_map))
        if summary is not None:
            summary.add(
                case, file, label_map=answer.label_map, affine=answer.affine, labels=legend.labels, image=answer.image,
                seconds=time.perf_counter() - answer.started, soft_dice=answer.soft_dice,
            )  # fmt: skip
        return file

    def _of_one(self, file: Path) -> list[Path]:
        suffix = file_suffix(file)
        return [file, *(file.with_name(file.name.removesuffix(suffix) + raw) for raw in RAW.get(suffix, ()))]

    def _write_pictures(self, case: Mapping[str, Any], label_map: Path, legend: Legend) -> None:
        image, name = as_paths(case["image"])[0], case["name"]
        if self.overlays:
            from pgsam_monai.pictures.overlays import write_overlays

            note_written(
                write_overlays(image, label_map, folder=self.folder / "overlays", labels=legend.labels,
                               window=legend.window, name=name)
            )  # fmt: skip
        if self.html:
            from pgsam_monai.pictures.page.write import write_page

            note_written(
                write_page(image, label_map, file=self.folder / f"{name}.html", labels=legend.labels,
                           background=legend.background, window=legend.window, name=name)
            )  # fmt: skip

    def _check_room(self, inputs: Sequence[Path], files: int) -> None:
        share = SHARE["map"] + (SHARE["page"] if self.html else 0)
        needed = max(files * LEAST_BYTES, int(share * sum(map(_bytes, inputs))))
        require_room(self.folder, needed, what="Results take", remedy="choose another folder")


def _bytes(path: Path) -> int:
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    except OSError:  # told when it is read
        return 0
