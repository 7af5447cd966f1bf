"""The trunk around the organs: skin, fat, muscle, ribs, spine, lung bases, and the table below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgsam_monai.data.phantom.shapes import ellipsoid

AIR, LUNG, FAT, MUSCLE, CANAL = -1000.0, -830.0, -102.0, 58.0, 30.0
WALL_MM = 11.0  # muscle between fat and cavity


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """Measures of one body, mm."""

    half_width: float
    half_depth: float
    fat: float
    rib_phase: float
    cancellous: float
    """HU inside the vertebrae"""
    dome: float
    """height of the right diaphragm"""

    @classmethod
    def at_random(cls, random: np.random.Generator) -> Trunk:
        fat = random.uniform(10, 24)
        return cls(
            half_width=144 + fat * 1.3 + random.normal(0, 2),
            half_depth=98 + fat + random.normal(0, 2),
            fat=fat,
            rib_phase=random.uniform(0, 2 * np.pi),
            cancellous=random.uniform(150, 230),
            dome=random.uniform(68, 80),
        )

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Depth under the skin along the ray to the middle, mm; negative outside. points (3, ...)."""
        xx, yy = points[0] ** 2, (points[1] + 4) ** 2
        across, along = xx / self.half_width**2, yy / self.half_depth**2
        square = np.sqrt(across * across + along * along)
        level = (
            np.sqrt(np.sqrt(square * (across + along))) + 1e-3
        )  # 1 on a skin between ellipse and rectangle
        return np.sqrt(xx + yy) * (1 / level - 1)

    @property
    def cavity_depth(self) -> float:
        """Depth under the skin at which the peritoneal cavity begins, mm."""
        return self.fat + WALL_MM + 2


def draw_trunk(points: np.ndarray, depth: np.ndarray, texture: np.ndarray, trunk: Trunk, pixel_mm: float):
    """The trunk without organs, (i, j, k) float32 in HU.

    `points` (3, i, j, k) mm, `depth` (i, j, k) from `Trunk.depth`, `texture` (i, j, k) unit variance.
    """
    image = np.full(depth.shape, AIR, np.float32)

    def lay(distance: np.ndarray, hounsfield) -> None:
        cover = np.clip(0.5 - distance / pixel_mm, 0, 1)
        image[...] += cover * (hounsfield - image)

    lay(-depth, MUSCLE + 4 * texture)  # skin, 2 mm
    lay(2 - depth, FAT + 5 * texture)
    lay(trunk.fat - depth, MUSCLE + 9 * texture)
    lay(trunk.fat + WALL_MM - depth, FAT + 6 * texture)
    _lay_lungs(lay, points, texture, trunk, depth)
    _lay_muscles(lay, points, texture)
    _lay_ribs(lay, points, trunk, depth)
    _lay_spine(lay, points, texture, trunk)
    _lay_table(lay, points, trunk)
    return image


def _lay_lungs(lay, points: np.ndarray, texture: np.ndarray, trunk: Trunk, depth: np.ndarray) -> None:
    x, y, z = points
    fall = 0.0055 * ((np.abs(x) - 74) ** 2 + (y - 8) ** 2)  # the diaphragm is highest at |x| = 74 mm
    below = trunk.dome - 3 * (x < 0) - fall - z
    beside = 26 + 0.25 * (y + 30).clip(0) - np.abs(x)  # heart and spine between the lungs
    lay(np.maximum(np.maximum(below, 26 - np.abs(x)), trunk.fat + WALL_MM - depth), MUSCLE + 8 * texture)
    lay(np.maximum(np.maximum(below + 4, beside), trunk.fat + WALL_MM + 1 - depth), LUNG + 35 * texture)


def _lay_muscles(lay, points: np.ndarray, texture: np.ndarray) -> None:
    for side in (-1, 1):
        lay(ellipsoid(points, (side * 36, -80, 0), (30, 20, 600)), MUSCLE + 12 * texture)  # beside the spine
        lay(
            ellipsoid(points, (side * 40, -50, -90), (19, 22, 100), (6, -side * 8, 0)), MUSCLE + 10 * texture
        )  # psoas


def _lay_ribs(lay, points: np.ndarray, trunk: Trunk, depth: np.ndarray) -> None:
    x, y, z = points
    slope = 0.45 * np.abs(x) + 0.25 * y  # ribs fall towards the side and the front
    across = np.abs(np.mod(z + slope + trunk.rib_phase * 5, 30.0) - 15.0) - 6.0
    radial = np.abs(depth - trunk.fat - 5.5) - 4.0
    free = np.maximum(y - 30 - 0.5 * z, -z - 40)  # no ribs in front of and below the chest
    distance = np.maximum(np.maximum(across, radial), np.maximum(free, 30 - np.abs(x)))
    lay(distance, 420.0)
    lay(distance + 2.8, 190.0)


def _lay_spine(lay, points: np.ndarray, texture: np.ndarray, trunk: Trunk) -> None:
    height = np.abs(
        np.mod(points[2] + trunk.rib_phase * 5, 34.0) - 17.0
    )  # 0 in the disc's middle... 17 in a body's
    body = ellipsoid(points, (0, -50, 0), (24, 18, 900))
    arch = ellipsoid(points, (0, -74, 0), (17, 13, 900))
    processes = np.maximum(np.abs(points[0]) - 3.5, np.maximum(-points[1] - 106, points[1] + 80))
    across = np.maximum(np.maximum(np.abs(points[1] + 72) - 4, np.abs(points[0]) - 40), 9 - height)
    for bone in (np.maximum(processes, 6 - height), across, arch, body):
        lay(bone, 380.0)
    lay(body + 2.5, trunk.cancellous + 22 * texture)
    lay(np.maximum(body, height - 4.0), 92 + 6 * texture)  # discs
    lay(ellipsoid(points, (0, -73, 0), (11, 8.5, 900)), CANAL)


def _lay_table(lay, points: np.ndarray, trunk: Trunk) -> None:
    below = trunk.half_depth + 4 + 6 - 0.0012 * points[0] ** 2  # curved up towards the sides
    lay(np.maximum(np.abs(points[1] + below) - 2.2, np.abs(points[0]) - 190), -120.0)
