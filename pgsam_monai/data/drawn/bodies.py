"""Implicit bodies in mm: what a scene is made of. Nothing has voxels, so a slice may lie anywhere, at any zoom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Ellipsoid:
    """A bent superellipsoid."""

    centre: np.ndarray
    """(3,) mm"""
    radii: np.ndarray
    """(3,) semi-axes, mm"""
    axes: np.ndarray
    """(3, 3), rows are the directions of the semi-axes"""
    bend: float = 0.0
    """how far the ends of the second axis are moved along the first, as a share of its radius: beans, bananas"""
    power: float = 2.0
    """2 for an ellipsoid, more for a box with rounded edges"""

    @property
    def reach(self) -> float:
        """Radius in mm of a ball round the centre that holds it, roughness apart."""
        corner = 3 ** max(0.0, 0.5 - 1 / self.power)  # of a box, at most the square root of 3
        return float(corner * (np.max(self.radii) + abs(self.bend) * self.radii[0]))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in mm → about how deep inside each lies (n,), mm, negative outside."""
        local = (points - self.centre) @ self.axes.T / self.radii
        if self.bend:
            local[:, 0] += self.bend * local[:, 1] ** 2
        if self.power == 2.0:
            level = np.sqrt(np.einsum("nc,nc->n", local, local))
        else:
            level = (np.abs(local) ** self.power).sum(axis=1) ** (1 / self.power)
        return (1 - level) * float(np.min(self.radii))


@dataclass(frozen=True, kw_only=True)
class Tube:
    """Round cones in a row."""

    path: np.ndarray
    """(m, 3) mm"""
    radii: np.ndarray
    """(m,) mm"""

    @property
    def centre(self) -> np.ndarray:
        return (self.path.min(axis=0) + self.path.max(axis=0)) / 2

    @property
    def reach(self) -> float:
        """As of an ellipsoid."""
        return float(np.linalg.norm(self.path - self.centre, axis=1).max() + self.radii.max())

    def depth(self, points: np.ndarray) -> np.ndarray:
        """As of an ellipsoid."""
        deepest, squares = np.full(len(points), -np.inf, dtype=np.float32), (points**2).sum(axis=1)
        for start, end, r0, r1 in zip(
            self.path[:-1], self.path[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            axis = end - start
            middle, half = (start + end) / 2, np.linalg.norm(axis) / 2 + max(r0, r1)
            from_middle = squares - points @ (2 * middle)
            near = np.flatnonzero(from_middle < (half + 3) ** 2 - middle @ middle)
            if not len(near):
                continue
            from_start = points[near] - start
            along = np.clip(from_start @ axis / max(float(axis @ axis), 1e-6), 0, 1)
            from_start -= along[:, None] * axis
            inside = r0 + (r1 - r0) * along - np.sqrt(np.einsum("nc,nc->n", from_start, from_start))
            deepest[near] = np.maximum(deepest[near], inside)
        return deepest


@dataclass(frozen=True, kw_only=True)
class Waves:
    """A smooth random field without a grid: a sum of plane waves."""

    frequencies: np.ndarray
    """(k, 3) radians per mm"""
    phases: np.ndarray
    """(k,)"""
    heights: np.ndarray
    """(c, k), of each of c components"""

    @classmethod
    def at_random(
        cls, rng: np.random.Generator, *, length_mm: float, count: int, components: int, height: float
    ) -> Waves:
        """`count` waves of about `length_mm` in all directions; a component's standard deviation is `height`."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = length_mm * rng.uniform(0.6, 1.8, (count, 1))
        heights = rng.normal(size=(components, count)) * height * np.sqrt(2 / count)
        return cls(
            frequencies=(2 * np.pi / lengths * directions).astype(np.float32),
            phases=rng.uniform(0, 2 * np.pi, count).astype(np.float32),
            heights=heights.astype(np.float32),
        )

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in mm → values (n, c)."""
        return np.sin(points @ self.frequencies.T + self.phases) @ self.heights.T


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A random (3, 3) rotation, uniform over all."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return (q * np.sign(np.linalg.det(q))).astype(np.float32)


def tilt(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A random (3, 3) rotation about a random axis by about `degrees`."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.normal() * degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)


def wander(
    rng: np.random.Generator,
    start: Sequence[float],
    heading: Sequence[float],
    *,
    steps: int,
    step_mm: float,
    turn: float,
) -> np.ndarray:
    """A path (steps + 1, 3) from `start` that sets out towards `heading` and turns a little with each step.

    `turn`: how much of the new direction is chance; 0.2 is a vessel, 0.8 a bowel.
    """
    direction = np.asarray(heading, dtype=np.float64)
    direction /= np.linalg.norm(direction)
    path = [np.asarray(start, dtype=np.float64)]
    for _ in range(steps):
        direction = direction + turn * rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        path.append(path[-1] + step_mm * direction)
    return np.asarray(path, dtype=np.float32)


def egg(
    rng: np.random.Generator,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    *,
    loose: float = 0.25,
    degrees: float = 20,
    bend: float = 0.0,
    power: float = 2.0,
) -> Ellipsoid:
    """An ellipsoid of about these measures: radii stray by `loose`, the centre by half as much of them."""
    size = np.asarray(radii) * np.exp(rng.normal(size=3) * loose) * np.exp(rng.normal() * loose)
    place = np.asarray(centre) + rng.normal(size=3) * 0.5 * loose * np.asarray(radii)
    return Ellipsoid(
        centre=place.astype(np.float32), radii=size.astype(np.float32), axes=tilt(rng, degrees),
        bend=bend, power=power,
    )  # fmt: skip


def shrunk(body: Ellipsoid, by: float | np.ndarray, shift: np.ndarray | float = 0.0) -> Ellipsoid:
    """The same body with radii `by` times as long, its centre moved by `shift` mm."""
    return Ellipsoid(
        centre=(body.centre + shift).astype(np.float32), radii=(body.radii * by).astype(np.float32),
        axes=body.axes, bend=body.bend, power=body.power,
    )  # fmt: skip
