"""Surfaces of masks and the distances between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from monai.metrics.utils import get_code_to_measure_table
from scipy import ndimage
from scipy.spatial import cKDTree


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distance of each surface element of one mask to the nearest element of the other, both ways."""

    prediction_to_reference: np.ndarray
    """(P,) mm"""
    prediction_area: np.ndarray
    """(P,) mm2 (mm of contour for two axes)"""
    reference_to_prediction: np.ndarray
    """(R,) mm"""
    reference_area: np.ndarray
    """(R,) mm2 (mm of contour for two axes)"""

    def normalised_surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within `tolerance_mm` of the other, 0 to 1."""
        within = self.prediction_area[self.prediction_to_reference <= tolerance_mm].sum()
        within += self.reference_area[self.reference_to_prediction <= tolerance_mm].sum()
        return float(within / (self.prediction_area.sum() + self.reference_area.sum()))

    def hausdorff(self, percentile: float) -> float:
        """The larger of the two directed distances that `percentile` % of the surface does not exceed, mm."""
        return max(
            _weighted_percentile(self.prediction_to_reference, self.prediction_area, percentile),
            _weighted_percentile(self.reference_to_prediction, self.reference_area, percentile),
        )


def measure_surfaces(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> SurfaceDistances:
    """Distances between the surfaces of two non-empty boolean masks of 2 or 3 axes, `spacing` in mm per axis.

    A surface element sits on each corner shared by inside and outside voxels and weighs the area of the
    marching-cubes patch there, as in DeepMind's `surface-distance`; the table of patches is MONAI's. What
    touches the border of the volume counts as a surface there.
    """
    prediction_points, prediction_area = _surface_elements(prediction, tuple(spacing))
    reference_points, reference_area = _surface_elements(reference, tuple(spacing))
    return SurfaceDistances(
        prediction_to_reference=nearest(prediction_points, reference_points),
        prediction_area=prediction_area,
        reference_to_prediction=nearest(reference_points, prediction_points),
        reference_area=reference_area,
    )


def surface_dice(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> float:
    """Normalised surface Dice of two boolean masks of 3 axes, 0 to 1: what `evaluate_case` calls nsd in millimetres.

    Only the box that holds both is looked at, and no distance beyond the tolerance is measured, so that it is quick.
    An axis of one voxel is none. 0 where one mask is empty, NaN where both are.
    """
    boxes = ndimage.find_objects((prediction | reference).view(np.uint8))
    if not boxes:
        return float("nan")
    kept = [axis for axis, size in enumerate(reference.shape) if size > 1]
    cut = [mask[boxes[0]] for mask in (prediction, reference)]
    if len(kept) == 2:
        cut = [mask.reshape([mask.shape[axis] for axis in kept]) for mask in cut]
        spacing = [spacing[axis] for axis in kept]
    if not all(mask.any() for mask in cut):
        return 0.0
    elements = [_surface_elements(mask, tuple(spacing)) for mask in cut]
    within = sum(
        area[nearest(points, others, at_most=tolerance_mm) <= tolerance_mm].sum()
        for (points, area), (others, _) in (elements, elements[::-1])
    )
    return float(within / sum(area.sum() for _, area in elements))


def voxel_hausdorff_95(prediction: np.ndarray, reference: np.ndarray) -> float:
    """The Synapse papers' HD95 of two non-empty masks, in voxels whatever the spacing.

    Surfaces are the voxels that an erosion with face neighbours removes; the 95th percentile is taken over
    the distances of both directions pooled (medpy's definition).
    """
    points = []
    for mask in (prediction, reference):
        faces = ndimage.generate_binary_structure(mask.ndim, 1)
        points.append(np.argwhere(mask & ~ndimage.binary_erosion(mask, faces)).astype(np.float64))
    pooled = np.concatenate([nearest(points[0], points[1]), nearest(points[1], points[0])])
    return float(np.percentile(pooled, 95))


def nearest(points: np.ndarray, others: np.ndarray, at_most: float = math.inf) -> np.ndarray:
    """(N,) distance of each of `points` (N, axes) to the nearest of `others` (M, axes); infinite where it is farther
    than `at_most`."""
    # Points of a grid come sorted: an unbalanced tree is built ten times faster and searched as fast.
    tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
    return tree.query(points, distance_upper_bound=at_most * (1 + 1e-9) + 1e-9)[0]  # which it must stay below


@lru_cache(maxsize=32)
def _patches(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Area by neighbourhood code (2 ** 2 ** axes,), and the code's bit at each corner (2,) * axes."""
    area, bits = get_code_to_measure_table(spacing)
    return area.numpy().astype(np.float64), bits.numpy().reshape((2,) * len(spacing)).astype(np.uint8)


def _surface_elements(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    area, bits = _patches(spacing)
    padded = np.pad(mask, 1).view(np.uint8)
    code = np.zeros([n - 1 for n in padded.shape], np.uint8)
    for corner, bit in np.ndenumerate(bits):
        window = tuple(slice(at, at + n) for at, n in zip(corner, code.shape, strict=True))
        code += padded[window] * bit
    everything_inside = int(bits.sum())
    corners = np.nonzero((code != 0) & (code != everything_inside))
    return np.stack(corners, axis=1) * np.asarray(spacing), area[code[corners]]


def _weighted_percentile(distances: np.ndarray, weights: np.ndarray, percentile: float) -> float:
    order = np.argsort(distances)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(distances[order][min(np.searchsorted(share, percentile / 100), len(order) - 1)])
