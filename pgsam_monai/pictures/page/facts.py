"""What the page's script is told of a case, as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgsam_monai.base.planes import choose_plane
from pgsam_monai.pictures.page.case import PageCase
from pgsam_monai.pictures.page.classes import ShownClass
from pgsam_monai.pictures.page.encode import find_windows, grey_scale, slab_slices
from pgsam_monai.pictures.page.grid import MAX_VOXELS, reduce_grey, reduction

OBLIQUE_DEGREES = 1.0
"""From here on the page says that the image is oblique."""


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """The grey values, or colours, that a page holds."""

    channels: tuple[np.ndarray, ...]
    """(z, y, x), reduced if need be"""
    factors: tuple[int, int, int]
    """voxels of the file along x, y, z that became one"""
    low: float
    step: float
    """value = low + code * step"""
    slab_slices: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        return self.channels[0].shape[::-1]


def shown_image(case: PageCase) -> ShownImage:
    factors = reduction(case.grid.shape, case.grid.spacing, limit=MAX_VOXELS // len(case.channels))
    channels = tuple(reduce_grey(channel, factors) for channel in case.channels)
    low, step = (0.0, 1.0) if len(channels) == 3 else grey_scale(channels[0])
    shape = channels[0].shape[::-1]
    return ShownImage(channels=channels, factors=factors, low=low, step=step, slab_slices=slab_slices(shape))


def page_facts(
    case: PageCase, classes: Sequence[ShownClass], image: ShownImage, window: tuple[float, float] | None
) -> dict[str, Any]:
    """See `assets/data.js` for how they are used. Axes are x, y, z; values are of the file's grid unless shown."""
    grid, colour = case.grid, len(case.channels) == 3
    windows = find_windows(image.channels[0], given=window, colour=colour)
    return {
        "name": case.name,
        "files": case.files,
        "notes": [*case.notes, *_notes(case, image)],
        "shape": image.shape,
        "spacing": [mm * factor for mm, factor in zip(grid.spacing, image.factors, strict=True)],
        "factors": image.factors,
        "fileShape": grid.file_shape,
        "fileAxes": grid.axes,
        "flips": grid.flips,
        "affine": grid.affine[:3].tolist() if grid.anatomical else None,
        "planes": shown_planes(case, image.shape),
        "plane": _first_plane(case, image.shape),
        "colour": colour,
        "low": image.low,
        "step": image.step,
        "slabSlices": image.slab_slices,
        "windows": [{"name": name, "low": low, "high": high} for name, low, high in windows],
        "classes": [_class_facts(shown, case, image.factors) for shown in classes],
        "classBytes": 1 if len(classes) < 256 else 2,
        "reference": case.reference is not None,
        "start": _start(classes, image),
    }


def shown_planes(case: PageCase, shape: Sequence[int]) -> list[str]:
    """The planes in which there is something to see; only that of the file's rows and columns if it has no geometry."""
    if not case.grid.anatomical:
        return ["stored"]
    across = {"axial": 2, "coronal": 1, "sagittal": 0}
    flat = [plane for plane, axis in across.items() if shape[axis] == 1]
    return flat[:1] or list(across)


def _first_plane(case: PageCase, shape: Sequence[int]) -> str:
    """What narrow screens show first: the plane in which the image was taken."""
    planes = shown_planes(case, shape)
    taken = choose_plane(case.grid.file_shape, case.grid.affine)
    return taken if taken in planes else planes[0]


def _notes(case: PageCase, image: ShownImage) -> list[str]:
    notes = []
    if case.grid.oblique_degrees >= OBLIQUE_DEGREES:
        notes.append(f"Oblique by {case.grid.oblique_degrees:.0f}°: planes follow the voxels.")
    if max(image.factors) > 1:
        by = " × ".join(str(factor) for factor in image.factors)
        notes.append(
            f"Reduced: {by} voxels are shown as one, small structures may be missing. Volumes are exact."
        )
    return notes


def _class_facts(shown: ShownClass, case: PageCase, factors: Sequence[int]) -> dict[str, Any]:
    ml = abs(float(np.linalg.det(case.grid.affine[:3, :3]))) / 1000 if case.grid.anatomical else None
    return {
        "name": shown.name,
        "value": shown.value,
        "colour": shown.colour,
        "voxels": shown.voxels,
        "ml": None if ml is None else shown.voxels * ml,
        "referenceVoxels": shown.reference_voxels,
        "referenceMl": None if ml is None or shown.reference_voxels is None else shown.reference_voxels * ml,
        "dice": shown.dice,
        "best": shown.best and [at // factor for at, factor in zip(shown.best, factors, strict=True)],
    }


def _start(classes: Sequence[ShownClass], image: ShownImage) -> list[int]:
    """Where the page opens: the best slices of the largest class, else the middle; shown voxels."""
    held = [shown for shown in classes if shown.best is not None]
    if not held:
        return [size // 2 for size in image.shape]
    largest = max(held, key=lambda shown: shown.voxels)
    return [at // factor for at, factor in zip(largest.best, image.factors, strict=True)]
