"""Random shapes: no anatomy at all, so that nothing but what is seen and clicked tells a structure."""

from __future__ import annotations

import numpy as np

from pgsam_monai.data.drawn.bodies import Ellipsoid, Tube, rotation, wander
from pgsam_monai.data.drawn.scenes import TISSUES, Cells, Scene, SceneBuilder

REACH = 100.0
"""mm"""


def draw_shapes(rng: np.random.Generator) -> Scene:
    """A scene of cells that touch, blobs with others inside, and tubes; or of some of these."""
    builder = SceneBuilder(rng)
    if rng.random() < 0.7:
        _cells(builder)
    for _ in range(rng.integers(2, 14)):
        _nest(builder)
    for _ in range(rng.integers(0, 6)):
        _tube(builder)
    return builder.finish(reach=REACH, warp_mm=rng.uniform(0, 8))


def _tissue(rng: np.random.Generator) -> int:
    return int(rng.integers(TISSUES))


def _cells(builder: SceneBuilder) -> None:
    rng = builder.rng
    count = int(rng.integers(3, 30))
    within = 0
    if rng.random() < 0.5:
        radii = REACH * rng.uniform(0.5, 1.1, 3)
        hull = Ellipsoid(centre=np.zeros(3, np.float32), radii=radii.astype(np.float32), axes=rotation(rng))
        within = builder.add(hull, _tissue(rng))
    builder.fill(
        Cells(
            seeds=(rng.normal(size=(count, 3)) * 0.5 * REACH).astype(np.float32),
            weights=(rng.normal(size=count) * 8).astype(np.float32),
            tissues=tuple(rng.integers(TISSUES, size=count).tolist()), within=within, rough=rng.uniform(0, 8),
        )
    )  # fmt: skip


def _nest(builder: SceneBuilder) -> None:
    """A blob, perhaps its twin on the other side, each perhaps with one or two more inside."""
    rng = builder.rng
    size = REACH * float(np.exp(rng.uniform(np.log(0.05), np.log(0.6))))
    body = Ellipsoid(
        centre=(rng.normal(size=3) * 0.5 * REACH).astype(np.float32),
        radii=(size * np.exp(rng.normal(size=3) * 0.4)).astype(np.float32), axes=rotation(rng),
        bend=rng.choice([0.0, rng.normal() * 0.7]), power=rng.choice([2.0, rng.uniform(1.2, 6)]),
    )  # fmt: skip
    rough, tissue = size * rng.choice([0.0, rng.uniform(0, 0.3)]), _tissue(rng)
    twins = [body]
    if rng.random() < 0.25:
        twins.append(
            Ellipsoid(
                centre=body.centre * np.float32([-1, 1, 1]), radii=body.radii, bend=body.bend,
                axes=body.axes * np.float32([-1, 1, 1]), power=body.power,
            )
        )  # fmt: skip
    numbers = [builder.add(twin, tissue, rough=rough) for twin in twins]
    if len(numbers) > 1:
        builder.pairs.append(tuple(numbers))
    while rng.random() < 0.45:
        share, inner = rng.uniform(0.3, 0.92), _tissue(rng)
        twins = [
            Ellipsoid(
                centre=twin.centre,
                radii=twin.radii * np.float32(share),
                axes=twin.axes,
                bend=twin.bend,
                power=twin.power,
            )
            for twin in twins
        ]
        numbers = [
            builder.add(twin, inner, within=number, rough=0.7 * rough)
            for twin, number in zip(twins, numbers, strict=True)
        ]


def _tube(builder: SceneBuilder) -> None:
    rng = builder.rng
    steps = int(rng.integers(2, 9))
    path = wander(
        rng, rng.normal(size=3) * 0.5 * REACH, rng.normal(size=3), steps=steps, step_mm=rng.uniform(10, 30),
        turn=rng.uniform(0, 0.8),
    )  # fmt: skip
    radii = (
        REACH * np.exp(rng.uniform(np.log(0.015), np.log(0.15))) * np.exp(rng.normal(size=steps + 1) * 0.2)
    )
    wall = builder.add(Tube(path=path, radii=radii.astype(np.float32)), _tissue(rng))
    if rng.random() < 0.3:
        inside = (radii * rng.uniform(0.4, 0.8)).astype(np.float32)
        builder.add(Tube(path=path, radii=inside), _tissue(rng), within=wall)
