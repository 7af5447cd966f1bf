"""A heart in its chest."""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.bodies import Ellipsoid, Tube, egg, rotation, shrunk, wander
from pgsam_monai.data.drawn.scenes import (
    BLOOD,
    FAT,
    FLUID,
    MUSCLE,
    SceneBuilder,
)
from pgsam_monai.data.drawn.wall import lesions, lungs, spine, wall


def heart(builder: SceneBuilder) -> float:
    """A chest seen from near by: two chambers, the muscle round one of them, atria, great vessels."""
    rng = builder.rng
    cavity, _, inner = wall(builder, 150, 105, 260)
    spine(builder, (0.0, -80.0), 200)
    if rng.random() < 0.7:
        lungs(builder, cavity, inner.radii[0], inner.radii[1])
    turn, size = rotation(rng), rng.uniform(0.7, 1.3)
    sac = Ellipsoid(
        centre=np.zeros(3, np.float32), radii=(size * np.array([62, 55, 72])).astype(np.float32), axes=turn
    )
    around = builder.add(sac, rng.choice([FAT, MUSCLE, FLUID]), within=cavity, rough=2)

    def place(*mm: float) -> np.ndarray:
        return (size * np.asarray(mm) @ turn).astype(np.float32)

    def chamber(centre: np.ndarray, radii: tuple[float, float, float], bend: float = 0.0) -> Ellipsoid:
        stray = np.exp(rng.normal(size=3) * 0.18)
        return Ellipsoid(
            centre=centre, radii=(size * np.asarray(radii) * stray).astype(np.float32), axes=turn, bend=bend
        )

    right_side = chamber(place(-26, 4, 0), (32, 26, 42), rng.uniform(-0.6, 0.2))
    right_wall = builder.add(shrunk(right_side, 1 + rng.uniform(0.04, 0.12)), MUSCLE, within=around)
    right = builder.add(right_side, BLOOD, within=right_wall)
    outer = chamber(place(18, -2, 0), (31, 31, 46))
    muscle = builder.add(outer, MUSCLE, within=around, rough=1)
    left = builder.add(shrunk(outer, rng.uniform(0.5, 0.8)), BLOOD, within=muscle, rough=rng.uniform(0, 2.5))
    if rng.random() < 0.4:
        papillary = egg(rng, tuple(outer.centre + place(8, 6, 0)), (4, 4, 9))
        builder.add(papillary, MUSCLE, within=left)
    atria = []
    for side in (-1, 1):
        body = chamber(place(22 * side, -10, 58), (24, 26, 21))
        atrium = builder.add(body, BLOOD, within=cavity, rough=rng.uniform(0.5, 3))
        atria.append(atrium)
        for _ in range(rng.integers(0, 4)):
            vein = wander(rng, body.centre, rng.normal(size=3), steps=4, step_mm=14 * size, turn=0.3)
            builder.add(
                Tube(path=vein, radii=np.full(5, rng.uniform(4, 8) * size, np.float32)), BLOOD, within=cavity
            )
    path = wander(rng, place(4, 4, 40), tuple(place(0, 2, 10)), steps=6, step_mm=18, turn=0.45)
    aorta = builder.add(
        Tube(path=path, radii=np.full(7, rng.uniform(9, 16) * size, np.float32)), BLOOD, within=cavity
    )
    builder.pairs += [(left, muscle), (left, right), tuple(atria), (aorta, left), (left, muscle, right)]
    lesions(builder)
    return 95.0 * size
