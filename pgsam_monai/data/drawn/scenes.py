"""A scene: bodies in the order in which they are painted, each a structure of some tissue."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pgsam_monai.data.drawn.bodies import Ellipsoid, Tube, Waves

AIR, LUNG, FAT, MUSCLE, SOFT, BLOOD, FLUID, BONE, SKIN = range(9)
"""Tissues: what two structures share that look alike."""
TISSUES = 9


@dataclass(frozen=True, kw_only=True)
class Part:
    """One structure."""

    body: Ellipsoid | Tube
    tissue: int
    within: int = 0
    """the structure that it is confined to, with all that was painted into that one before; 0 for none"""
    rough: float = 0.0
    """how far its surface strays from the body's, mm"""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Structures that fill a space and touch: each point belongs to the nearest of several seeds."""

    seeds: np.ndarray
    """(m, 3) mm"""
    weights: np.ndarray
    """(m,) mm, how much farther a cell reaches than its neighbours"""
    tissues: tuple[int, ...]
    """of each"""
    within: int = 0
    """as of a part"""
    rough: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a volume holds. Structures are numbered from 1 in the order of painting; 0 is what surrounds them."""

    parts: tuple[Part | Cells, ...]
    tissues: np.ndarray
    """(n + 1,) tissue of each structure, the surroundings first"""
    family: np.ndarray
    """(n + 1, n + 1) bool: [a, b] whether b is a, or lies within it, see `families`"""
    pairs: tuple[tuple[int, ...], ...]
    """structures that belong together: left and right, the chambers of a heart"""
    warp: Waves
    """displaces points, mm"""
    roughness: Waves
    """of unit height"""
    reach: float
    """radius in mm of what is worth looking at"""

    def structures_at(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in mm → the structure that lies there (n,), int16; 0 for none."""
        points = points + self.warp(points)
        rough = self.roughness(points)[:, 0]
        space = _Space(points)
        found = np.zeros(len(points), dtype=np.int16)
        number = 0
        for part in self.parts:
            if isinstance(part, Cells):
                self._fill(part, number, space, rough, found)
                number += len(part.seeds)
            else:
                number += 1
                self._paint(part, number, space, rough, found)
        return found

    def _paint(self, part: Part, number: int, space: _Space, rough: np.ndarray, found: np.ndarray) -> None:
        near = space.near(part.body.centre, part.body.reach + 3 * part.rough)
        near = self._allowed(near, part.within, found)
        if len(near):
            depth = part.body.depth(space.points[near])
            found[near[depth + part.rough * rough[near] > 0]] = number

    def _fill(self, cells: Cells, before: int, space: _Space, rough: np.ndarray, found: np.ndarray) -> None:
        near = self._allowed(np.arange(len(found)), cells.within, found)
        if not len(near):
            return
        own = space.points[near] + cells.rough * rough[near, None]
        squares = (own**2).sum(axis=1)[:, None] - 2 * own @ cells.seeds.T + (cells.seeds**2).sum(axis=1)
        nearest = (np.sqrt(np.maximum(squares, 0)) - cells.weights).argmin(axis=1)
        found[near] = before + 1 + nearest

    def _allowed(self, near: np.ndarray, within: int, found: np.ndarray) -> np.ndarray:
        return near[self.family[within][found[near]]] if within else near


class _Space:
    """Points, and which of them lie near a place."""

    def __init__(self, points: np.ndarray) -> None:
        """`points`: (n, 3) float32, mm."""
        self.points = points
        self._squares = (points**2).sum(axis=1)
        self._low, self._high = points.min(axis=0), points.max(axis=0)

    def near(self, centre: np.ndarray, reach: float) -> np.ndarray:
        """Indices of the points within `reach` mm of a place."""
        outside = np.maximum(np.maximum(self._low - centre, centre - self._high), 0)
        if outside @ outside > reach * reach:  # most bodies miss most slices
            return np.empty(0, dtype=np.intp)
        squares = self._squares - self.points @ (2 * centre)
        return np.flatnonzero(squares < reach * reach - centre @ centre)


def families(parents: np.ndarray) -> np.ndarray:
    """(n + 1,) what each lies within → (n + 1, n + 1) bool: [a, b] whether b is a, or within it, however deep."""
    family = np.eye(len(parents), dtype=bool)
    for number in range(1, len(parents)):  # parents are painted first
        if parents[number]:
            family[:, number] |= family[:, parents[number]]
    return family


@dataclass
class SceneBuilder:
    """Collects the parts of a scene."""

    rng: np.random.Generator
    parts: list[Part | Cells] = field(default_factory=list)
    tissues: list[int] = field(default_factory=lambda: [AIR])
    parents: list[int] = field(default_factory=lambda: [0])
    pairs: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, body: Ellipsoid | Tube, tissue: int, *, within: int = 0, rough: float = 0.0) -> int:
        """Paint a body next; its number."""
        self.parts.append(Part(body=body, tissue=tissue, within=within, rough=rough))
        self.tissues.append(tissue)
        self.parents.append(within)
        return len(self.tissues) - 1

    def fill(self, cells: Cells) -> range:
        """Paint cells next; their numbers."""
        first = len(self.tissues)
        self.parts.append(cells)
        self.tissues.extend(cells.tissues)
        self.parents.extend([cells.within] * len(cells.seeds))
        return range(first, first + len(cells.seeds))

    def finish(self, *, reach: float, warp_mm: float) -> Scene:
        """The scene, its geometry bent by about `warp_mm`."""
        return Scene(
            parts=tuple(self.parts),
            tissues=np.asarray(self.tissues, dtype=np.int16),
            family=families(np.asarray(self.parents, dtype=np.int16)),
            pairs=tuple(self.pairs),
            warp=Waves.at_random(self.rng, length_mm=reach, count=6, components=3, height=warp_mm),
            roughness=Waves.at_random(self.rng, length_mm=0.2 * reach, count=12, components=1, height=1.0),
            reach=reach,
        )
