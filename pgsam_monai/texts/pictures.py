"""Slices of training cases that show a class, by its labels, for vision models that write the class's text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.configs import read_configs
from pgsam_monai.data.filling import fill_store
from pgsam_monai.texts.pages import pixel_mm, png_of_slice
from pgsam_monai.texts.questions import Picture, Subject

if TYPE_CHECKING:
    from pgsam_monai.data.splits import FewSlices
    from pgsam_monai.data.store import StoredCase


Shown = TypeVar("Shown")


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
            best.append((voxels * float(np.prod(pixel_mm(case.affine))), case, -index))
    best.sort(key=lambda found: (-found[0], found[1].name))
    return [(case, index) for _, case, index in best[:count]]


def draw_picture(case: StoredCase, index: int, *, label: str, value: int, colour: bool = False) -> Picture:
    """One slice, and where the class lies in it."""
    image, mask = case.read_slice(index)
    png = png_of_slice(image.float().numpy(), pixel_mm(case.affine), colour=colour)
    return Picture(
        label=label, case=case.name, slice=index, png=png, place=place_of(mask[0].numpy() == value)
    )


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
    cases: Sequence[Shown], named: Sequence[Sequence[int]], few: FewSlices | None
) -> list[tuple[Shown, Sequence[int]]]:
    """The slices that training sees, of the cases that have any: those `named` in the splits, then the few drawn.

    `cases` are a fold's training list, in its order, in whatever form.
    """
    places = [(number, index) for number, indices in enumerate(named) for index in indices]
    kept = places if few is None else [places[place] for place in few.draw(len(places))]
    allowed: dict[int, list[int]] = {}
    for number, index in kept:
        allowed.setdefault(number, []).append(index)
    return [(cases[number], indices) for number, indices in allowed.items()]
