"""Implicit shapes. Each function returns roughly the signed distance in mm, negative inside.

`points` is always (3, ...) float32: patient millimetres, +x right, +y anterior, +z superior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Vector = Sequence[float]


def rotation(degrees: Vector) -> np.ndarray:
    """(3, 3) rotation about x, then y, then z, by the three angles in degrees."""
    ax, ay, az = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
    about_y = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
    about_z = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def ellipsoid(points: np.ndarray, centre: Vector, radii: Vector, degrees: Vector = (0, 0, 0)) -> np.ndarray:
    """Ellipsoid with semi-axes `radii` in mm, turned about its centre by `degrees`."""
    frame = rotation(degrees).T.astype(np.float32)
    local = np.einsum("rc,c...->r...", frame, points)  # BLAS threads would cost more than they bring
    local -= (frame @ np.asarray(centre, np.float32)).reshape(3, *[1] * (points.ndim - 1))
    local /= np.asarray(radii, np.float32).reshape(3, *[1] * (points.ndim - 1))
    level = np.sqrt(np.einsum("c...,c...->...", local, local)) + 1e-4
    local /= np.asarray(radii, np.float32).reshape(3, *[1] * (points.ndim - 1))
    slope = np.sqrt(np.einsum("c...,c...->...", local, local)) + 1e-6
    return level * (level - 1) / slope


def tube(points: np.ndarray, path: Sequence[Vector], radii: Vector, blend_mm: float = 4.0) -> np.ndarray:
    """Chain of round cones along `path` (N points in mm) with one radius per point."""
    path_mm = np.asarray(path, np.float32)
    distance = None
    for start, end, r0, r1 in zip(path_mm[:-1], path_mm[1:], radii[:-1], radii[1:], strict=True):
        axis = end - start
        offset = points - start.reshape(3, *[1] * (points.ndim - 1))
        along = np.clip(np.einsum("c,c...->...", axis, offset) / float(axis @ axis), 0, 1)
        offset -= axis.reshape(3, *[1] * (points.ndim - 1)) * along
        cone = np.sqrt(np.einsum("c...,c...->...", offset, offset)) - (r0 + (r1 - r0) * along)
        distance = cone if distance is None else smooth_union(distance, cone, blend_mm)
    return distance


def smooth_union(first: np.ndarray, second: np.ndarray, blend_mm: float) -> np.ndarray:
    """Union whose seam is rounded over about `blend_mm`."""
    overlap = np.clip(blend_mm - np.abs(first - second), 0, None)
    return np.minimum(first, second) - overlap * overlap / (4 * blend_mm)


def smooth_cut(shape: np.ndarray, tool: np.ndarray, blend_mm: float) -> np.ndarray:
    """`shape` without `tool`, the new edge rounded over about `blend_mm`."""
    return -smooth_union(-shape, tool, blend_mm)
