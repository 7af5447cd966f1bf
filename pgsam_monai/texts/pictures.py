"""Slices of training cases as plain PNGs for vision models: no marks, no metadata, no names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.configs import read_configs
from pgsam_monai.data.filling import fill_store
from pgsam_monai.texts.questions import Picture, Subject

if TYPE_CHECKING:
    from PIL.Image import Image

    from pgsam_monai.data.splits import FewSlices
    from pgsam_monai.data.store import StoredCase

SIDE_PX = 512
"""longer side of a picture"""


def make_pictures(
    subject: Subject, labels: Sequence[str], *, count: int, dataset_dir: str | None = None
) -> dict[str, list[Picture]]:
    """Up to `count` pictures of each class, from the training cases of fold 0 and no others.

    Cases come through the bundle's own preprocessing and store, so the intensities are the planned ones. One
    slice a case, the one where the class is largest; cases where it covers most mm² come first. Few-shot by slice
    shows only the slices that training sees.

    Raises:
        UserFault: the data set is not there, or a case can't be read.
    """
    cases = _training_cases(subject.root, dataset_dir)
    return {
        label: [
            draw_picture(
                case, index, label=label, value=subject.names.index(label), colour=subject.modality == "RGB"
            )
            for case, index in choose_slices(cases, subject.names.index(label), count)
        ]
        for label in labels
    }


def choose_slices(
    cases: Sequence[tuple[StoredCase, Sequence[int]]], value: int, count: int
) -> list[tuple[StoredCase, int]]:
    """The cases and slices that show class index `value` best; `cases` come with the slices allowed of each."""
    best = []
    for case, allowed in cases:
        voxels, index = max((case.slice_labels[index].get(value, 0), -index) for index in allowed)
        if voxels:
            best.append((voxels * float(np.prod(_pixel_mm(case))), case, -index))
    best.sort(key=lambda found: (-found[0], found[1].name))
    return [(case, index) for _, case, index in best[:count]]


def draw_picture(case: StoredCase, index: int, *, label: str, value: int, colour: bool = False) -> Picture:
    """One slice, equal mm per pixel both ways; grey, or red-green-blue for colour pictures of three channels."""
    image, mask = case.read_slice(index)
    array, inside = image.float().numpy(), mask[0].numpy() == value  # (C, H, W), (H, W)
    page = _page(array if colour and len(array) == 3 else array[:1], _pixel_mm(case))
    stream = io.BytesIO()
    page.save(stream, format="PNG", optimize=True)
    return Picture(label=label, case=case.name, slice=index, png=stream.getvalue(), place=place_of(inside))


def place_of(inside: np.ndarray) -> str:
    """The bounding box of a mask (H, W) and its share of the area, in percent."""
    (rows,), (columns,) = np.nonzero(inside.any(axis=1)), np.nonzero(inside.any(axis=0))
    height, width = inside.shape
    left, right = round(100 * columns[0] / width), round(100 * (columns[-1] + 1) / width)
    top, bottom = round(100 * rows[0] / height), round(100 * (rows[-1] + 1) / height)
    return (
        f"between {left} % and {right} % of the width from the left edge and between {top} % and {bottom} % of the "
        f"height from the top, covering {100 * inside.mean():.1f} % of the area"
    )


def _page(array: np.ndarray, pixel_mm: tuple[float, float]) -> Image:
    """Channels (1 or 3, H, W), preprocessed to 0…1; other ranges are shown from percentile 1 to 99."""
    from PIL import Image

    low, high = (0.0, 1.0) if array.min() >= 0 and array.max() <= 1 else np.percentile(array, (1, 99))
    scaled = np.uint8(np.round(255 * np.clip((array - low) / max(high - low, 1e-6), 0, 1)))
    page = Image.fromarray(
        scaled[0] if len(scaled) == 1 else np.ascontiguousarray(np.moveaxis(scaled, 0, -1))
    )
    rows_mm, columns_mm = np.multiply(array.shape[1:], pixel_mm)
    scale = SIDE_PX / max(rows_mm, columns_mm)
    size = max(1, round(columns_mm * scale)), max(1, round(rows_mm * scale))
    return page.resize(size, Image.Resampling.BICUBIC)


def _pixel_mm(case: StoredCase) -> tuple[float, float]:
    """mm per row and per column."""
    spacing = np.linalg.norm(np.asarray(case.affine)[:3, :3], axis=0)
    return float(spacing[0]), float(spacing[1])


def _training_cases(root: Path, dataset_dir: str | None) -> list[tuple[StoredCase, Sequence[int]]]:
    from pgsam_monai.data.splits import read_few_slices, select_cases
    from pgsam_monai.data.store import StoreError

    own = {"dataset_dir": dataset_dir} if dataset_dir else {}
    parser = read_configs([root / "configs/train.json"], {"bundle_root": str(root), **own})
    folder = Path(parser.get_parsed_content("dataset_dir"))
    if not folder.is_dir():
        raise UserFault(f"The data set folder '{folder}' is not there; give its place as --dataset_dir.")
    splits_file = parser.get_parsed_content("splits_file")
    items = select_cases(splits_file, folder, fold=0, part="training")
    try:
        cases = fill_store(parser.get_parsed_content("store"), items)
    except StoreError as error:
        raise UserFault(f"Training cases can't be shown: {error}") from error
    named = [
        item.get("slices") or range(case.image_shape[-1]) for case, item in zip(cases, items, strict=True)
    ]
    return allowed_slices(cases, named, read_few_slices(splits_file))


def allowed_slices(
    cases: Sequence[StoredCase], named: Sequence[Sequence[int]], few: FewSlices | None
) -> list[tuple[StoredCase, Sequence[int]]]:
    """The slices that training sees, of the cases that have any: those `named` in the splits, then the few drawn."""
    places = [(number, index) for number, indices in enumerate(named) for index in indices]
    kept = places if few is None else [places[place] for place in few.draw(len(places))]
    allowed: dict[int, list[int]] = {}
    for number, index in kept:
        allowed.setdefault(number, []).append(index)
    return [(cases[number], indices) for number, indices in allowed.items()]
