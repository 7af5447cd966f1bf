"""A head and a brain."""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.bodies import Tube, egg, shrunk, wander
from pgsam_monai.data.drawn.scenes import (
    BONE,
    FAT,
    FLUID,
    SKIN,
    SOFT,
    SceneBuilder,
)
from pgsam_monai.data.drawn.wall import lesions


def head(builder: SceneBuilder) -> float:
    rng = builder.rng
    head = egg(rng, (0, 0, 0), (75, 92, 88), loose=0.08, degrees=8)
    skin = builder.add(head, SKIN)
    fat = builder.add(shrunk(head, 0.975), FAT, within=skin)
    skull = builder.add(shrunk(head, 0.94), BONE, within=fat)
    inside = shrunk(head, rng.uniform(0.8, 0.89))
    fluid = builder.add(inside, FLUID, within=skull)
    halves = []
    for side in (-1, 1):
        half = shrunk(inside, np.array([0.47, 0.96, 0.94]), [0.49 * side * inside.radii[0], 0, 4])
        grey = builder.add(half, SOFT, within=fluid, rough=rng.uniform(1, 3))
        white = builder.add(shrunk(half, rng.uniform(0.78, 0.9)), SOFT, within=grey, rough=rng.uniform(2, 4))
        halves.append(grey)
        ventricle = egg(rng, (10 * side, 2, 6), (7, 26, 10), bend=rng.uniform(0, 0.8) * side)
        builder.add(ventricle, FLUID, within=white, rough=1)
        for place, radii in (
            ((14, 8, 0), (8, 13, 10)),
            ((12, -10, -2), (9, 13, 9)),
            ((24, 4, -4), (6, 14, 10)),
        ):
            nucleus = egg(rng, (side * place[0], *place[1:]), radii)
            builder.add(nucleus, SOFT, within=white)
        _hippocampus(builder, side)
    builder.pairs.append(tuple(halves))
    cerebellum = egg(rng, (0, -42, -46), (40, 26, 22))
    builder.add(shrunk(cerebellum, 0.7), SOFT, within=builder.add(cerebellum, SOFT, within=skull, rough=2))
    builder.add(egg(rng, (0, -18, -50), (12, 11, 28)), SOFT, within=skull)
    lesions(builder)
    return 85.0


def _hippocampus(builder: SceneBuilder, side: int) -> None:
    """A bent tube in two or three pieces that look alike: only a click tells them apart."""
    rng = builder.rng
    path = wander(
        rng, (side * 26, 4, -22), (0.25 * side, -1, 0.25), steps=8, step_mm=rng.uniform(4, 7), turn=0.15
    )
    radii = rng.uniform(5, 9) * np.linspace(1.3, 0.6, 9) * np.exp(rng.normal(size=9) * 0.1)
    cut = int(rng.integers(2, 6))
    whole = builder.add(Tube(path=path, radii=radii.astype(np.float32)), SOFT)
    front = Tube(path=path[: cut + 1], radii=radii[: cut + 1].astype(np.float32))
    builder.add(front, SOFT, within=whole)
