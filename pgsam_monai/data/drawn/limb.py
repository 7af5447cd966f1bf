"""A limb, or a neck."""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.bodies import Tube, wander
from pgsam_monai.data.drawn.scenes import (
    BLOOD,
    BONE,
    FAT,
    MUSCLE,
    SOFT,
    Cells,
    SceneBuilder,
)
from pgsam_monai.data.drawn.wall import lesions, wall


def limb(builder: SceneBuilder) -> float:
    """A thigh, a calf, a neck: bones, bundles of muscle that touch, vessels."""
    rng = builder.rng
    width, depth = rng.uniform(50, 110), rng.uniform(50, 100)
    space, _, inner = wall(builder, width, depth, 260)
    count = int(rng.integers(5, 16))
    seeds = rng.normal(size=(count, 3)) * inner.radii * [0.55, 0.55, 0.4]
    builder.fill(
        Cells(
            seeds=seeds.astype(np.float32), weights=rng.normal(size=count).astype(np.float32) * 4,
            tissues=tuple(rng.choice([MUSCLE, SOFT, FAT], count, p=[0.7, 0.2, 0.1]).tolist()), within=space,
            rough=rng.uniform(0, 3),
        )
    )  # fmt: skip
    bones = []
    for _ in range(rng.integers(1, 4)):
        x, y = rng.normal(size=2) * 0.35 * inner.radii[:2]
        path = wander(rng, (x, y, -200), (0, 0, 1), steps=8, step_mm=50, turn=0.05)
        radii = rng.uniform(7, 18) * np.exp(rng.normal(size=9) * 0.15)
        bone = builder.add(Tube(path=path, radii=radii.astype(np.float32)), BONE, rough=0.5)
        builder.add(
            Tube(path=path, radii=(radii * rng.uniform(0.5, 0.8)).astype(np.float32)), FAT, within=bone
        )
        bones.append(bone)
    for _ in range(rng.integers(1, 6)):
        x, y = rng.normal(size=2) * 0.4 * inner.radii[:2]
        path = wander(rng, (x, y, -200), (0, 0, 1), steps=8, step_mm=50, turn=0.1)
        builder.add(Tube(path=path, radii=np.full(9, rng.uniform(2, 6), np.float32)), BLOOD, within=space)
    if len(bones) > 1:
        builder.pairs.append(tuple(bones))
    lesions(builder)
    return float(max(width, depth))
