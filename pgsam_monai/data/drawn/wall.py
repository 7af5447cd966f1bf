"""What a trunk and a chest share: the wall round the organs, bones, lungs; and lesions, which may lie anywhere."""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.bodies import Ellipsoid, Tube, egg, shrunk, wander
from pgsam_monai.data.drawn.scenes import (
    BLOOD,
    BONE,
    FAT,
    FLUID,
    LUNG,
    MUSCLE,
    SKIN,
    SOFT,
    Cells,
    SceneBuilder,
)


def wall(
    builder: SceneBuilder, width: float, depth: float, length: float
) -> tuple[int, Ellipsoid, Ellipsoid]:
    """Skin, fat and muscle round a cavity: the cavity's number, and the body's and its own ellipsoid."""
    rng = builder.rng
    body = egg(rng, (0, 0, 0), (width, depth, length), loose=0.08, degrees=4, power=rng.uniform(2, 3.2))
    skin = builder.add(body, SKIN)
    inside = shrunk(body, 1 - rng.uniform(1.5, 4) / depth)
    fat = builder.add(inside, FAT, within=skin)
    muscle_body = shrunk(inside, 1 - np.array([1, 1, 0]) * rng.uniform(0.03, 0.28))
    muscle = builder.add(muscle_body, MUSCLE, within=fat, rough=2)
    cavity_body = shrunk(muscle_body, 1 - np.array([1, 1, 0]) * rng.uniform(0.06, 0.16), [0, 0.08 * depth, 0])
    return builder.add(cavity_body, FAT, within=muscle, rough=2), body, cavity_body


def spine(builder: SceneBuilder, place: tuple[float, float], length: float) -> None:
    rng = builder.rng
    size = rng.uniform(14, 26)
    height, x, y = size * rng.uniform(1.1, 1.6), *place
    curve = rng.uniform(-0.1, 0.1)
    for z in np.arange(-length, length, height * 1.25)[:24]:
        centre = (x, y + curve * abs(z), z)
        vertebra = egg(rng, centre, (size, 0.75 * size, 0.45 * height), loose=0.04, degrees=4, power=3)
        number = builder.add(vertebra, BONE, rough=0.6)
        if rng.random() < 0.6:
            builder.add(shrunk(vertebra, 0.85), SOFT, within=number)
        back = np.array(
            [[x - 1.6 * size, y - size, z], [x, y - 1.9 * size, z], [x + 1.6 * size, y - size, z]]
        )
        builder.add(Tube(path=back.astype(np.float32), radii=np.full(3, 0.22 * size, np.float32)), BONE)
    canal = np.array([[x, y - 1.05 * size, -length], [x, y - 1.05 * size, length]], np.float32)
    around = builder.add(Tube(path=canal, radii=np.full(2, 0.42 * size, np.float32)), FLUID)
    builder.add(Tube(path=canal, radii=np.full(2, 0.26 * size, np.float32)), SOFT, within=around)


def ribs(builder: SceneBuilder, wall: Ellipsoid) -> None:
    rng = builder.rng
    thickness, drop = rng.uniform(3, 6), rng.uniform(20, 70)
    angle = np.linspace(-0.5 * np.pi, 0.4 * np.pi, 9)
    for z in np.arange(-120, 260, rng.uniform(22, 34)):
        for side in (-1, 1):
            path = np.stack(
                [
                    wall.centre[0] + side * wall.radii[0] * np.cos(angle),
                    wall.centre[1] + wall.radii[1] * np.sin(angle),
                    z - drop * (angle + 0.5 * np.pi) / np.pi,
                ],
                axis=1,
            )
            radii = np.full(len(path), thickness, np.float32)
            builder.add(Tube(path=path.astype(np.float32), radii=radii), BONE)


def lungs(builder: SceneBuilder, cavity: int, x: float, y: float) -> None:
    rng = builder.rng
    pair = []
    for side in (-1, 1):
        lung = egg(rng, (side * 0.5 * x, 0, 230), (0.45 * x, 0.85 * y, 130), loose=0.08, degrees=6)
        pair.append(builder.add(lung, LUNG, within=cavity, rough=2))
        for _ in range(rng.integers(0, 5)):
            path = wander(
                rng,
                (side * 0.15 * x, 0, 200),
                (side, rng.normal(), rng.normal()),
                steps=5,
                step_mm=16,
                turn=0.3,
            )
            builder.add(Tube(path=path, radii=np.linspace(5, 1, 6, dtype=np.float32)), BLOOD, within=pair[-1])
    builder.pairs.append(tuple(pair))


def lesions(builder: SceneBuilder) -> None:
    """Tumours, cysts and the like inside what is there."""
    rng = builder.rng
    hosts = [
        (number, part.body)
        for number, part in enumerate(builder.parts, start=1)
        if not isinstance(part, Cells) and isinstance(part.body, Ellipsoid) and part.tissue in (SOFT, MUSCLE)
    ] if not any(isinstance(part, Cells) for part in builder.parts) else []  # fmt: skip
    for _ in range(min(len(hosts), rng.integers(0, 5))):
        number, host = hosts[rng.integers(len(hosts))]
        size = float(np.min(host.radii)) * rng.uniform(0.15, 0.7)
        place = host.centre + rng.normal(size=3) * 0.35 * host.radii
        lesion = egg(rng, tuple(place), (size, size, size))
        outer = builder.add(lesion, rng.choice([SOFT, FLUID, BLOOD]), within=number, rough=0.15 * size)
        if rng.random() < 0.3:
            builder.add(
                shrunk(lesion, rng.uniform(0.4, 0.7)),
                rng.choice([SOFT, FLUID]),
                within=outer,
                rough=0.1 * size,
            )
