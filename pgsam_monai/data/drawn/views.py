"""Slices through a scene: any place, any angle, any zoom, thin or thick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgsam_monai.data.drawn.bodies import rotation, tilt
from pgsam_monai.data.drawn.scenes import BONE, Cells, Scene

TRIES = 4
GLANCE = 20
"""Pixels per side of the look that a view gets before it is chosen."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A square window on a plane."""

    centre: np.ndarray
    """(3,) mm"""
    down: np.ndarray
    """(3,) mm from one row of pixels to the next"""
    across: np.ndarray
    """(3,) mm from one column of pixels to the next"""
    thickness_mm: float = 0.0
    """of the slice; 0 for a plane"""

    def points(self, size: int, depth_mm: float = 0.0) -> np.ndarray:
        """Pixel centres (size * size, 3) in mm, row by row, in a plane `depth_mm` behind this one; float32."""
        places = np.arange(size, dtype=np.float32) - (size - 1) / 2
        rows = self.centre + places[:, None] * self.down
        behind = np.cross(self.down, self.across)
        rows = rows + depth_mm * behind / np.linalg.norm(behind)
        points = rows[:, None, :] + places[None, :, None] * self.across
        return points.reshape(-1, 3).astype(np.float32)


def choose_view(rng: np.random.Generator, scene: Scene, size: int) -> View:
    """A view of the whole region, as scanners give it, or of one structure and what lies round it.

    Of a few it takes the first that shows something: two structures or more, on a fifth of its pixels.

    Args:
        rng: draws it.
        scene: what is looked at.
        size: pixels per side.
    """
    for _ in range(TRIES):
        view = _draw_view(rng, scene, size)
        glance = scene.structures_at(_zoomed(view, size / GLANCE).points(GLANCE))
        if np.count_nonzero(glance) >= 0.2 * len(glance) and len(np.unique(glance[glance > 0])) > 1:
            break
    return view


def _draw_view(rng: np.random.Generator, scene: Scene, size: int) -> View:
    whole = rng.random() < 0.5
    centre, span = _whole(rng, scene) if whole else _near_by(rng, scene)
    order = [1, 0, 2] if whole and rng.random() < 0.5 else rng.permutation(3)  # most scans are axial
    along = np.eye(3, dtype=np.float32)[order] * rng.choice([-1, 1], size=(3, 1))
    axes = rotation(rng) if rng.random() < 0.2 else along @ tilt(rng, 8)
    pixel, aspect = span / size, np.exp(rng.normal() * 0.1)
    thickness = span * rng.uniform(0.01, 0.06) if rng.random() < 0.15 else 0.0
    return View(
        centre=np.asarray(centre, np.float32), down=(axes[0] * pixel * aspect).astype(np.float32),
        across=(axes[1] * pixel / aspect).astype(np.float32), thickness_mm=float(thickness),
    )  # fmt: skip


def _zoomed(view: View, by: float) -> View:
    """The same with pixels `by` times as wide."""
    return View(centre=view.centre, down=view.down * by, across=view.across * by)


def _whole(rng: np.random.Generator, scene: Scene) -> tuple[np.ndarray, float]:
    centre = rng.normal(size=3) * scene.reach * [0.12, 0.12, 0.45]
    return centre, scene.reach * rng.uniform(1.7, 2.5)


def _near_by(rng: np.random.Generator, scene: Scene) -> tuple[np.ndarray, float]:
    weights = np.array(
        [0.1 if not isinstance(part, Cells) and part.tissue == BONE else 1.0 for part in scene.parts]
    )
    part = scene.parts[rng.choice(len(weights), p=weights / weights.sum())]  # a spine has many bones
    if isinstance(part, Cells):
        return part.seeds[rng.integers(len(part.seeds))], scene.reach * rng.uniform(0.5, 1.6)
    centre = part.body.centre + rng.normal(size=3) * 0.25 * min(part.body.reach, scene.reach)
    span = 2 * part.body.reach * np.exp(rng.uniform(np.log(1.0), np.log(5)))
    limit = 1.5 * scene.reach
    return np.clip(centre, -limit, limit), float(np.clip(span, 0.25 * scene.reach, 2.4 * scene.reach))


def cut(scene: Scene, view: View, size: int) -> np.ndarray:
    """The structures on a view, (planes, size, size) int16: one plane, or three of a thick slice, the middle first."""
    half = view.thickness_mm / 2
    depths = (0.0, -half, half) if half else (0.0,)
    return np.stack([scene.structures_at(view.points(size, depth)).reshape(size, size) for depth in depths])
