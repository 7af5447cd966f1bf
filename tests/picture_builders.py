"""Small data sets of colour and grey pictures as their challenges lay them out: ellipses, no two sizes alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CUP, RIM, BACKGROUND = 0, 128, 255
"""REFUGE's masks: inverted, the innermost structure is darkest."""


def size_of(case: int) -> tuple[int, int]:
    """(rows, columns) of a case's picture."""
    return 40 + 3 * (case % 5), 48 + 5 * (case % 4)


def ellipse(size: tuple[int, int], radius: float, case: int = 0) -> np.ndarray:
    """(rows, columns) bool: an ellipse about a centre that moves with the case, its half axes a share of the sides."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    y = (rows + 0.5) / size[0] - 0.5 - 0.02 * (case % 3)
    x = (columns + 0.5) / size[1] - 0.5 + 0.02 * (case % 4)
    return (y / radius) ** 2 + (x / (1.1 * radius)) ** 2 < 1


def shaded(levels: np.ndarray, case: int, channels: int = 3) -> np.ndarray:
    """uint8 (rows, columns[, channels]): `levels` 0 to 1 as brightness with noise; blue falls where red rises."""
    random = np.random.default_rng(case)
    grey = np.clip(40 + 160 * levels + random.normal(0, 4, levels.shape), 0, 255)
    if channels == 1:
        return grey.astype(np.uint8)
    return np.stack([grey, 0.7 * grey, 255 - grey], axis=-1).astype(np.uint8)


def save(array: np.ndarray, path: Path, mode: str | None = None) -> Path:
    """A picture of an array, converted to PIL's `mode`."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture: Any = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def write_refuge(
    folder: Path, *, cases: int = 4, validation: int = 0, test: int = 0, test_masks: bool = True
) -> Path:
    """REFUGE: Training400/Glaucoma/g0001.jpg beside Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp."""
    image = "Training400/{kind}/{name}.jpg"
    mask = "Annotation-Training400/Disc_Cup_Masks/{kind}/{name}.bmp"
    for case in range(1, cases + 1):
        kind = ("Non-Glaucoma", "Glaucoma")[case % 2]
        place = {"kind": kind, "name": f"{'ng'[case % 2]}{case:04d}"}
        _write_fundus(folder / image.format(**place), folder / mask.format(**place), case)
    for case in range(1, validation + 1):
        name = f"V{case:04d}"
        masks = folder / "REFUGE-Validation400-GT/Disc_Cup_Masks"
        _write_fundus(folder / f"REFUGE-Validation400/{name}.jpg", masks / f"{name}.bmp", 50 + case)
    for case in range(1, test + 1):
        masks = folder / "REFUGE-Test-GT/Disc_Cup_Masks/G"
        mask_file = masks / f"T{case:04d}.bmp" if test_masks else None
        _write_fundus(folder / f"Test400/T{case:04d}.jpg", mask_file, 70 + case)
    return folder


def _write_fundus(image: Path, mask: Path | None, case: int) -> None:
    size = size_of(case)
    disc, cup = ellipse(size, 0.2, case), ellipse(size, 0.12, case)
    save(shaded(0.4 + 0.3 * disc + 0.3 * cup, case), image)
    if mask is not None:
        save(np.where(cup, CUP, np.where(disc, RIM, BACKGROUND)).astype(np.uint8), mask)


def write_isic(folder: Path, *, year: int = 2018, cases: int = 4) -> Path:
    """ISIC's challenges of 2016, 2017 (with superpixels among the images) and 2018; masks are 0 and 255."""
    images, masks, ending = {
        2016: (
            "ISBI2016_ISIC_Part1_Training_Data",
            "ISBI2016_ISIC_Part1_Training_GroundTruth",
            "_Segmentation",
        ),
        2017: ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth", "_segmentation"),
        2018: ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth", "_segmentation"),
    }[year]
    for case in range(cases):
        name, size = f"ISIC_{case:07d}", size_of(case)
        lesion = ellipse(size, 0.25, case)
        save(shaded(1 - 0.6 * lesion, case), folder / images / f"{name}.jpg")
        save(np.where(lesion, np.uint8(255), np.uint8(0)), folder / masks / f"{name}{ending}.png")
        if year == 2017:
            save(shaded(lesion, case), folder / images / f"{name}_superpixels.png")
    if year == 2018:
        (folder / images / "ATTRIBUTION.txt").write_text("ISIC")
    return folder


def write_ultrasound(
    folder: Path,
    *,
    image: str = "image/{:d}.PNG",
    mask: str = "mask/{:d}.PNG",
    mode: str = "L",
    cases: int = 4,
) -> Path:
    """Thyroid nodules as in TN-SCUI: equal names in two folders. `mode` of the images: L, RGB, RGBA, P or LA."""
    for case in range(1, cases + 1):
        size = size_of(case)
        nodule = ellipse(size, 0.2, case)
        save(shaded(0.7 - 0.5 * nodule, case, 1), folder / image.format(case), mode)
        save(np.where(nodule, np.uint8(255), np.uint8(0)), folder / mask.format(case))
    return folder
