"""Pictures of cases without labels, for vision models: nine slices side by side of a case, or a slice.

Cases are preprocessed as for predicting, one at a time, from their images alone: no label file is opened, nor the
store, whose entries hold labels too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose
from tqdm import tqdm

from pgsam_monai.base.cases import path_or_paths
from pgsam_monai.base.errors import UserFault, root_of
from pgsam_monai.base.splits import read_splits
from pgsam_monai.configs import read_configs
from pgsam_monai.data.splits import REMEDY, FewSlices, images_only, located, read_few_slices
from pgsam_monai.texts.case_file import entry_name
from pgsam_monai.texts.pages import pixel_mm, png_of_slices
from pgsam_monai.texts.pictures import allowed_slices
from pgsam_monai.texts.questions import Subject
from pgsam_monai.texts.wishes import CASE

TILES = 9
"""Slices of a case that are shown side by side."""
FORMAT = 1
"""Of the pictures: another one is another request."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What of a case one request shows. Its names tell the user, and are never sent."""

    case: str
    entry: str
    """in the file of texts"""
    slices: tuple[int, ...]
    """indices along the last axis of the preprocessed volume"""
    digest: str
    """SHA-256 of the pixels and their size in mm"""


class Album:
    """The cases of a bundle's splits, or other images; one preprocessed volume is in memory at a time."""

    def __init__(
        self,
        subject: Subject,
        *,
        dataset_dir: str | None = None,
        images: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """
        Args:
            subject: the bundle's.
            dataset_dir: where the data set lies, if not where the bundle says.
            images: [{"name", "image": path or paths}] instead of the cases of the splits.

        Raises:
            UserFault: the data set is not there.
        """
        own = {"dataset_dir": dataset_dir} if dataset_dir else {}
        configs = read_configs(
            [subject.root / "configs/inference.json"], {"bundle_root": str(subject.root), **own}
        )
        self._colour = subject.modality == "RGB"
        self._preprocessing: Compose = configs.get_parsed_content("preprocessing")
        self._splits: dict[str, Any] | None = None
        self._few: FewSlices | None = None
        if images is None:
            file = configs.get_parsed_content("splits_file")
            self._splits, self._few = read_splits(file, remedy=REMEDY), read_few_slices(file)
            images = _cases_of(self._splits, Path(configs.get_parsed_content("dataset_dir")))
        self._images = {case["name"]: case["image"] for case in images}
        self._volume = lru_cache(maxsize=1)(self._read)

    def sheets(self, each: str) -> list[Sheet]:
        """What is shown, in the order of the cases: of each CASE one, or one of each SLICE that training sees or
        evaluation predicts, in any fold.

        Raises:
            UserFault: an image can't be read, by the case's name.
        """
        found, depths = [], {}
        for case in tqdm(self._images, desc="reading", unit="case", disable=None):
            depths[case] = self._volume(case)[0].shape[-1]
            chosen = [tiles_of(depths[case])] if each == CASE else [(index,) for index in range(depths[case])]
            found += [self._sheet(case, slices, each) for slices in chosen]
        if each == CASE or self._splits is None:
            return found
        used = used_slices(self._splits, self._few, depths)
        return [sheet for sheet in found if sheet.slices[0] in used[sheet.case]]

    def png(self, sheet: Sheet) -> bytes:
        """The picture of a sheet."""
        volume, mm = self._volume(sheet.case)
        return png_of_slices(volume[..., list(sheet.slices)].astype(np.float32), mm, colour=self._colour)

    def _sheet(self, case: str, slices: tuple[int, ...], each: str) -> Sheet:
        volume, mm = self._volume(case)
        digest = hashlib.sha256(repr((FORMAT, volume.dtype.str, volume.shape, slices, mm)).encode())
        digest.update(np.ascontiguousarray(volume[..., list(slices)]).tobytes())
        entry = entry_name(case, None if each == CASE else slices[0])
        return Sheet(case=case, entry=entry, slices=slices, digest=digest.hexdigest())

    def _read(self, case: str) -> tuple[np.ndarray, tuple[float, float]]:
        """Preprocessed image (C, H, W, D), and mm per row and per column."""
        try:
            image = self._preprocessing({"image": path_or_paths(self._images[case])})["image"]
        except Exception as fault:
            root = root_of(fault)  # MONAI wraps the faults of transforms
            if isinstance(root, UserFault):
                raise UserFault(f"Case '{case}' can't be shown: {root}") from fault
            raise
        return image.numpy(), pixel_mm(image.affine)


def tiles_of(depth: int) -> tuple[int, ...]:
    """Up to `TILES` of a volume's slices, in the middle of so many equal parts."""
    count = min(TILES, depth)
    return tuple(int((2 * number + 1) * depth / (2 * count)) for number in range(count))


def used_slices(
    splits: Mapping[str, Any], few: FewSlices | None, depths: Mapping[str, int]
) -> dict[str, set[int]]:
    """Of each case the slices that some fold trains on, or predicts: all of validation and test cases.

    Args:
        splits: content of splits.json.
        few: its draw of training slices.
        depths: case -> number of its slices.
    """
    used: dict[str, set[int]] = {case: set() for case in depths}
    for fold in splits["folds"]:
        training = fold["training"]
        named = [splits["cases"][case].get("slices") or range(depths[case]) for case in training]
        for case, indices in allowed_slices(training, named, few):
            used[case].update(indices)
        for case in (*fold["validation"], *splits["test"]):
            used[case].update(range(depths[case]))
    return used


def _cases_of(splits: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Those that some list names, in the order of splits.json, with their images alone."""
    if not folder.is_dir():
        raise UserFault(f"The data set folder '{folder}' is not there; give its place as --dataset_dir.")
    listed = _listed(splits)
    return images_only([
        located(name, files, folder) for name, files in splits["cases"].items() if name in listed
    ])  # fmt: skip


def _listed(splits: Mapping[str, Any]) -> set[str]:
    lists: Iterable[Sequence[str]] = [
        names for fold in splits["folds"] for names in (fold["training"], fold["validation"])
    ]
    return {name for names in (*lists, splits["test"]) for name in names}
