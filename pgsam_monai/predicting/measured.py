"""What is measured of a prediction and of its image: sizes, pieces, places, grey values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from pgsam_monai.base.measures import by_percentiles, percentiles_of, relative_position, to_anatomical
from pgsam_monai.base.volume import Volume
from pgsam_monai.voxels.labels import label_indices

FEW = 256
"""Values below it are looked for as they are; larger ones, and 0, are numbered first."""
TOUCHING = np.ones((3, 3, 3))
"""Voxels that share a face, an edge or a corner are one piece, as planning counts them."""


@dataclass(frozen=True, kw_only=True)
class MeasuredImage:
    """An image as it was read."""

    orientation: str
    """axis codes such as "LPS"; "" of pictures and archives, which have no millimetres either"""
    shape: tuple[int, ...]
    """voxels along `base.measures.AXES`, or along rows, columns and slices"""
    spacing: tuple[float, ...]
    """mm, likewise"""
    means: tuple[float, ...]
    """per channel"""
    percentiles: tuple[tuple[float, float], ...]
    """per channel, see `base.measures.percentiles_of`"""


@dataclass(frozen=True, kw_only=True)
class MeasuredStructure:
    """One class in a label map."""

    name: str
    value: int
    voxels: int
    pieces: int
    millilitres: float | None
    """None, like what follows, where it can't be told; of what wasn't found all but this is None"""
    centroid: tuple[float, ...] | None = None
    """voxels (i, j, k), whole numbers being the voxels' middles"""
    centroid_mm: tuple[float, ...] | None = None
    """RAS+"""
    position: tuple[float, ...] | None = None
    """of the centroid in the image, 0 to 1 along `base.measures.AXES`"""
    means: tuple[float, ...] | None = None
    """of the image in it, per channel"""
    scaled_means: tuple[float, ...] | None = None
    """the same where each channel's percentiles are 0 and 1"""


def measure_image(image: Volume, *, has_geometry: bool) -> MeasuredImage:
    """Measure what was read of finite values; `has_geometry`: of files that state millimetres and directions."""
    orientation = "".join(nib.aff2axcodes(image.affine)) if has_geometry else ""
    channels = [channel.reshape(-1, order="A") for channel in image.voxels]
    return MeasuredImage(
        orientation=orientation,
        shape=to_anatomical(image.voxels.shape[1:], orientation),
        spacing=to_anatomical(image.spacing, orientation),
        means=tuple(float(channel.mean(dtype=np.float64)) for channel in channels),
        percentiles=tuple(percentiles_of(channel) for channel in channels),
    )


def measure_structures(
    label_map: np.ndarray,
    labels: Mapping[str, int],
    affine: np.ndarray,
    image: Volume | None,
    measured: MeasuredImage | None,
) -> list[MeasuredStructure]:
    """Measure each class of a label map (i, j, k).

    Args:
        label_map: values as in the file.
        labels: foreground names -> values.
        affine: (4, 4) voxel -> mm RAS+.
        image: on the label map's grid, as it was read; None where that isn't known.
        measured: that image measured; None likewise.
    """
    from scipy import ndimage  # here, for predictions without a summary start without it

    boxes = _boxes(label_map, list(labels.values()))
    voxels = None if image is None or image.voxels.shape[1:] != label_map.shape else image.voxels
    has_mm = measured is not None and bool(measured.orientation)
    found = []
    for (name, value), box in zip(labels.items(), boxes, strict=True):
        if box is None:
            found.append(MeasuredStructure(name=name, value=value, voxels=0, pieces=0,
                                           millilitres=0.0 if has_mm else None))  # fmt: skip
            continue
        mask = label_map[box] == value
        count, centroid = int(np.count_nonzero(mask)), _centroid(mask, box)
        ml = count * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        means = None if voxels is None else tuple(float(c[box][mask].mean(dtype=np.float64)) for c in voxels)
        found.append(
            MeasuredStructure(
                name=name,
                value=value,
                voxels=count,
                pieces=int(ndimage.label(_in_memory_order(mask), TOUCHING)[1]),
                millilitres=ml if has_mm else None,
                centroid=centroid,
                centroid_mm=tuple((affine[:3, :3] @ centroid + affine[:3, 3]).tolist()) if has_mm else None,
                position=relative_position(centroid, label_map.shape, measured.orientation)
                if has_mm
                else None,
                means=means,
                scaled_means=_scaled(means, measured),
            )
        )
    return found


def _boxes(label_map: np.ndarray, values: Sequence[int]) -> list[tuple[slice, ...] | None]:
    """The smallest box around each value; None of what isn't there."""
    if all(0 < value < FEW for value in values):
        numbers, found = label_map, values
    else:
        numbers, found = label_indices(label_map, [(), *values]), range(1, len(values) + 1)
    from scipy import ndimage

    boxes = ndimage.find_objects(_in_memory_order(numbers), max_label=max(found))
    step = -1 if numbers.flags.f_contiguous else 1
    return [None if boxes[number - 1] is None else boxes[number - 1][::step] for number in found]


def _in_memory_order(array: np.ndarray) -> np.ndarray:
    """Turned so that the last axis is the one along which memory runs, where scipy is three times as quick."""
    return array.T if array.flags.f_contiguous else array


def _centroid(mask: np.ndarray, box: tuple[slice, ...]) -> tuple[float, ...]:
    """Of a mask that is cut out of the whole at `box`."""
    middles = []
    for axis, cut in enumerate(box):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        counts = mask.sum(axis=others)
        middles.append(cut.start + float(counts @ np.arange(len(counts)) / counts.sum()))
    return tuple(middles)


def _scaled(means: tuple[float, ...] | None, image: MeasuredImage | None) -> tuple[float, ...] | None:
    if means is None or image is None or not all(high > low for low, high in image.percentiles):
        return None
    return tuple(by_percentiles(mean, ends) for mean, ends in zip(means, image.percentiles, strict=True))
