"""A trunk and its organs. Millimetres; x to the right, y to the front, z upwards, as in all regions."""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.bodies import Tube, egg, shrunk, wander
from pgsam_monai.data.drawn.scenes import (
    AIR,
    BLOOD,
    FAT,
    FLUID,
    MUSCLE,
    SOFT,
    SceneBuilder,
)
from pgsam_monai.data.drawn.wall import lesions, lungs, ribs, spine, wall


def trunk(builder: SceneBuilder) -> float:
    rng = builder.rng
    width, depth = rng.uniform(130, 200), rng.uniform(90, 140)
    cavity, body, inner = wall(builder, width, depth, 320)
    spine(builder, (0.0, -0.68 * depth), 320)
    if rng.random() < 0.8:
        ribs(builder, shrunk(inner, 1.08))
    side = rng.choice([-1, 1])
    x, y = inner.radii[0], inner.radii[1]
    if rng.random() < 0.7:
        lungs(builder, cavity, x, y)
    _bowel(builder, cavity, x, y)
    organs = [
        lambda: _liver(builder, cavity, side, x, y),
        lambda: _spleen(builder, cavity, side, x, y),
        lambda: _kidneys(builder, cavity, x, y),
        lambda: _stomach(builder, cavity, side, x, y),
        lambda: _vessels(builder, cavity, y),
        lambda: _small_organs(builder, cavity, side, x, y),
        lambda: _bladder(builder, cavity, y),
    ]
    for draw in (organs[i] for i in rng.permutation(len(organs))):
        if rng.random() < 0.88:
            draw()
    lesions(builder)
    return float(width)


def _liver(builder: SceneBuilder, cavity: int, side: int, x: float, y: float) -> None:
    rng = builder.rng
    body = egg(
        rng, (0.45 * side * x, 0.1 * y, 60), (0.5 * x, 0.75 * y, 75), loose=0.15, bend=rng.uniform(-0.4, 0.4)
    )
    liver = builder.add(body, SOFT, within=cavity, rough=rng.uniform(1, 5))
    for _ in range(rng.integers(0, 6)):
        path = wander(rng, body.centre, rng.normal(size=3), steps=5, step_mm=14, turn=0.35)
        builder.add(Tube(path=path, radii=np.linspace(6, 2, 6, dtype=np.float32)), BLOOD, within=liver)
    if rng.random() < 0.7:
        size = rng.uniform(8, 24)
        below = body.centre + np.array([-0.2 * side * x, 0.4 * y, -40])
        builder.add(egg(rng, tuple(below), (0.6 * size, 0.7 * size, 1.3 * size)), FLUID, within=cavity)


def _spleen(builder: SceneBuilder, cavity: int, side: int, x: float, y: float) -> None:
    rng = builder.rng
    body = egg(rng, (-0.72 * side * x, -0.3 * y, 70), (18, 38, 45), bend=side * rng.uniform(-0.6, 0.6))
    builder.add(body, SOFT, within=cavity, rough=rng.uniform(0.5, 2))


def _kidneys(builder: SceneBuilder, cavity: int, x: float, y: float) -> None:
    rng = builder.rng
    pair, size = [], rng.uniform(18, 30)
    for side in (-1, 1):
        body = egg(
            rng, (0.5 * side * x, -0.5 * y, 0), (0.9 * size, 1.1 * size, 1.9 * size), loose=0.1,
            bend=0.3 * side * rng.random(),
        )  # fmt: skip
        kidney = builder.add(body, SOFT, within=cavity, rough=1)
        pair.append(kidney)
        if rng.random() < 0.7:
            shift = np.array([-0.4 * side * size, 0.2 * size, 0])
            builder.add(
                shrunk(body, rng.uniform(0.35, 0.6), shift), rng.choice([FAT, FLUID]), within=kidney, rough=2
            )
        if rng.random() < 0.4:
            builder.add(shrunk(body, 0.72), SOFT, within=kidney, rough=2)
        if rng.random() < 0.5:  # adrenal gland: two thin limbs
            top = body.centre + np.array([0, 0.3 * size, 1.7 * size])
            path = np.stack([top + [-9, -12, -6], top, top + [9, -14, -4]]).astype(np.float32)
            builder.add(
                Tube(path=path, radii=np.full(3, rng.uniform(1.8, 4), np.float32)), SOFT, within=cavity
            )
    builder.pairs.append(tuple(pair))


def _stomach(builder: SceneBuilder, cavity: int, side: int, x: float, y: float) -> None:
    rng = builder.rng
    body = egg(rng, (-0.4 * side * x, 0.3 * y, 50), (32, 30, 50), bend=side * rng.uniform(0, 0.9))
    stomach = builder.add(body, MUSCLE, within=cavity, rough=2)
    if rng.random() < 0.8:
        content = builder.add(
            shrunk(body, rng.uniform(0.7, 0.93)), rng.choice([FLUID, SOFT]), within=stomach, rough=2
        )
        if rng.random() < 0.5:
            builder.add(shrunk(body, 0.7, [0, 0.5 * body.radii[1], 0]), AIR, within=content)


def _vessels(builder: SceneBuilder, cavity: int, y: float) -> None:
    rng = builder.rng
    for side in (-1, 1):
        start = (side * rng.uniform(8, 22), -0.42 * y + rng.normal() * 5, -260)
        path = wander(rng, start, (0, 0, 1), steps=13, step_mm=42, turn=0.06)
        radius = rng.uniform(6, 15)
        vessel = builder.add(Tube(path=path, radii=np.full(14, radius, np.float32)), BLOOD, within=cavity)
        if rng.random() < 0.2:
            builder.add(Tube(path=path, radii=np.full(14, 0.7 * radius, np.float32)), BLOOD, within=vessel)
        for _ in range(rng.integers(0, 5)):
            branch = wander(
                rng,
                path[rng.integers(4, 10)],
                rng.normal(size=3) * [1, 1, 0.3],
                steps=5,
                step_mm=14,
                turn=0.3,
            )
            builder.add(
                Tube(path=branch, radii=np.full(6, rng.uniform(2, 6), np.float32)), BLOOD, within=cavity
            )


def _small_organs(builder: SceneBuilder, cavity: int, side: int, x: float, y: float) -> None:
    rng = builder.rng
    path = wander(
        rng, (0.25 * side * x, 0, 15), (-side, -0.2, 0.3), steps=6, step_mm=rng.uniform(14, 22), turn=0.3
    )
    radii = rng.uniform(6, 16) * np.exp(rng.normal(size=7) * 0.2)
    builder.add(Tube(path=path, radii=radii.astype(np.float32)), SOFT, within=cavity, rough=rng.uniform(0, 3))
    for _ in range(rng.integers(1, 6)):
        place = rng.normal(size=3) * [0.4 * x, 0.4 * y, 60]
        size = rng.uniform(3, 14)
        builder.add(egg(rng, tuple(place), (size, size, size)), rng.choice([SOFT, FLUID]), within=cavity)


def _bowel(builder: SceneBuilder, cavity: int, x: float, y: float) -> None:
    rng = builder.rng
    for _ in range(rng.integers(0, 5)):
        start = rng.normal(size=3) * [0.4 * x, 0.4 * y, 70] + [0, 0.2 * y, -60]
        path = wander(rng, start, rng.normal(size=3), steps=9, step_mm=24, turn=0.7)
        radii = rng.uniform(9, 22) * np.exp(rng.normal(size=10) * 0.12)
        wall = builder.add(Tube(path=path, radii=radii.astype(np.float32)), MUSCLE, within=cavity)
        if rng.random() < 0.8:
            inside = Tube(path=path, radii=(radii - rng.uniform(2, 4)).astype(np.float32))
            builder.add(inside, rng.choice([AIR, FLUID, SOFT]), within=wall, rough=2)


def _bladder(builder: SceneBuilder, cavity: int, y: float) -> None:
    rng = builder.rng
    body = egg(rng, (0, 0.3 * y, -150), (34, 30, 32))
    wall = builder.add(body, MUSCLE, within=cavity)
    builder.add(shrunk(body, rng.uniform(0.82, 0.95)), FLUID, within=wall)
    gland = egg(rng, (0, 0.1 * y, -195), (22, 17, 19))
    outer = builder.add(gland, SOFT, within=cavity)
    builder.add(shrunk(gland, rng.uniform(0.5, 0.75), [0, 3, 2]), SOFT, within=outer, rough=1)
