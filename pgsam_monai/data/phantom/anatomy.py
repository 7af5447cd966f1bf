"""One random patient-like arrangement of organs, as a list of paints in drawing order.

Frame: millimetres, +x patient right, +y anterior, +z superior, origin in the middle of the trunk at
about the first lumbar vertebra. A later paint covers an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pgsam_monai.data.phantom.shapes import ellipsoid, smooth_cut, smooth_union, tube

ORGANS = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "pancreas": 11,
}
"""Label values as in the raw Synapse data, gaps included."""

Shape = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Paint:
    """One homogeneous part of the drawing."""

    shape: Shape
    """points (3, ...) in mm -> signed distance in mm"""
    centre: tuple[float, float, float]
    """middle of the box that holds the shape, mm"""
    reach: tuple[float, float, float]
    """half extent of that box, mm"""
    hounsfield: float
    texture: float = 4.0
    """standard deviation of the slow grey-value variation inside, HU"""
    label: int | None = None
    """None leaves the label that is there"""


class Anatomy:
    """Draws the random numbers of one case and lists its paints."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.enhancement = random.normal(0, 6)  # one contrast phase shifts all vessels and organs together

    def near(self, *centre: float, spread_mm: float = 3.0) -> tuple[float, ...]:
        return tuple(float(c + self.random.normal(0, spread_mm)) for c in centre)

    def sized(self, *values: float, spread: float = 0.06) -> tuple[float, ...]:
        common = 1 + self.random.normal(0, spread)
        return tuple(float(v * common * (1 + self.random.normal(0, spread / 2))) for v in values)

    def tilt(self, *degrees: float) -> tuple[float, ...]:
        return self.near(*degrees, spread_mm=5.0)

    def grey(self, mean: float, spread: float = 7.0, share: float = 1.0) -> float:
        return float(mean + share * self.enhancement + self.random.normal(0, spread))

    def blob(self, centre, radii, degrees=(0, 0, 0), **paint) -> Paint:
        return Paint(
            shape=lambda p: ellipsoid(p, centre, radii, degrees),
            centre=centre,
            reach=(max(radii),) * 3,
            **paint,
        )

    def pipe(self, path, radii, **paint) -> Paint:
        corners = np.asarray(path)
        middle, half = (
            (corners.max(0) + corners.min(0)) / 2,
            (corners.max(0) - corners.min(0)) / 2 + max(radii) + 2,
        )
        return Paint(shape=lambda p: tube(p, path, radii), centre=tuple(middle), reach=tuple(half), **paint)

    def paints(self) -> list[Paint]:
        """All paints below the body wall, background structures first, labelled organs last."""
        return [
            *self.bowel(),
            *self.veins(),
            *self.liver(),
            *self.spleen(),
            *self.kidney(side=+1, label=ORGANS["right kidney"]),
            *self.kidney(side=-1, label=ORGANS["left kidney"]),
            *self.stomach(),
            self.pancreas(),
            self.aorta(),
            self.gallbladder(),
        ]

    def bowel(self) -> list[Paint]:
        loops = []
        for _ in range(9):  # small bowel
            start = np.array(
                [self.random.uniform(-75, 75), self.random.uniform(0, 65), self.random.uniform(-100, -28)]
            )
            steps = np.cumsum(self.random.normal(0, 17, (4, 3)), axis=0)
            loops.append((start + steps, self.random.uniform(9, 14, 4), self.grey(48, 18, 0.5)))
        for side in (-1, 1):  # ascending and descending colon
            path = [(side * 103, -18, z) for z in (-120, -85, -50)]
            loops.append(([self.near(*p) for p in path], (20, 22, 19), self.grey(30, 15, 0)))
        transverse = [(90, 35, -45), (45, 70, -55), (0, 78, -60), (-50, 74, -45), (-95, 30, -15)]
        loops.append(
            ([self.near(*p, spread_mm=6) for p in transverse], (19, 18, 17, 17, 18), self.grey(30, 15, 0))
        )
        paints = [self.pipe(path, radii, hounsfield=hu, texture=10.0) for path, radii, hu in loops]
        for path, radii, _ in loops[-3:]:  # gas rises to the front of the colon
            above = np.asarray(path) + (0, 5, 0)
            paints.append(self.pipe(above, np.asarray(radii) * 0.55, hounsfield=-820, texture=60.0))
        return paints

    def veins(self) -> list[Paint]:
        cava = [
            self.near(x, y, z, spread_mm=1.5) for x, y, z in [(20, -16, -130), (20, -14, -20), (26, 0, 110)]
        ]
        portal = [self.near(*p, spread_mm=2) for p in [(14, 14, -60), (12, 12, -10), (38, 14, 22)]]
        splenic = [self.near(*p, spread_mm=2) for p in [(10, 10, -4), (-30, 4, 4), (-88, -22, 24)]]
        duodenum = [
            self.near(*p, spread_mm=2) for p in [(36, 38, -8), (46, 14, -28), (38, 2, -52), (0, 4, -58)]
        ]
        return [
            self.pipe(duodenum, (12, 12, 11, 10), hounsfield=self.grey(55, 12, 0.5), texture=8.0),
            self.pipe(cava, self.sized(12, 12, 13), hounsfield=self.grey(140, 12)),
            self.pipe(portal, self.sized(7, 8, 7), hounsfield=self.grey(155, 10)),
            self.pipe(splenic, self.sized(4.5, 4.5, 4), hounsfield=self.grey(150, 10)),
        ]

    def liver(self) -> list[Paint]:
        right, right_radii, right_tilt = self.near(78, 2, 20), self.sized(66, 88, 76), self.tilt(0, 12, 0)
        left, left_radii, left_tilt = self.near(8, 54, 42), self.sized(74, 36, 34), self.tilt(0, -8, 6)
        bed, bed_radii = (0.0, -34.0, 0.0), self.sized(46, 62, 400)

        def shape(points: np.ndarray) -> np.ndarray:
            lobes = smooth_union(
                ellipsoid(points, right, right_radii, right_tilt),
                ellipsoid(points, left, left_radii, left_tilt),
                30.0,
            )
            return smooth_cut(lobes, ellipsoid(points, bed, bed_radii), 14.0)

        hounsfield = self.grey(108, 9)
        body = Paint(
            shape=shape,
            centre=(50.0, 10.0, 20.0),
            reach=(120, 100, 95),
            hounsfield=hounsfield,
            label=ORGANS["liver"],
        )
        return [body, *self.liver_vessels(hounsfield + self.random.uniform(32, 55))]

    def liver_vessels(self, hounsfield: float) -> list[Paint]:
        root, cava = (38.0, 14.0, 22.0), (27.0, 2.0, 62.0)
        portal_ends = [(78, 34, 24), (86, -10, 16), (72, 8, -6), (20, 52, 40)]
        hepatic_ends = [(84, 10, 46), (60, 46, 50), (20, 44, 56)]
        branches = [(root, self.near(*end, spread_mm=7), 5.0) for end in portal_ends]
        branches += [(cava, self.near(*end, spread_mm=7), 4.5) for end in hepatic_ends]
        return [
            self.pipe([start, self.near(*(np.add(start, end) / 2), spread_mm=3), end], (r, r * 0.8, 1.5),
                      hounsfield=hounsfield)
            for start, end, r in branches
        ]  # fmt: skip

    def spleen(self) -> list[Paint]:
        centre = self.near(-97, -36, 22)
        outer, inner = self.sized(42, 58, 50, spread=0.08), self.sized(40, 50, 66)
        hollow = tuple(np.add(centre, self.near(28, 10, -8, spread_mm=2)))
        tilt = self.tilt(-14, 0, -10)

        def shape(points: np.ndarray) -> np.ndarray:
            return smooth_cut(
                ellipsoid(points, centre, outer, tilt), ellipsoid(points, hollow, inner, tilt), 8.0
            )

        return [
            Paint(
                shape=shape,
                centre=centre,
                reach=(64, 64, 64),
                hounsfield=self.grey(122, 8),
                label=ORGANS["spleen"],
            )
        ]

    def kidney(self, *, side: int, label: int) -> list[Paint]:
        centre = self.near(side * 62, -44, -30 if side > 0 else -16)
        radii = self.sized(27, 25, 53)
        tilt = self.tilt(8, side * 12, side * 30)
        hilum = tuple(np.add(centre, (-side * 27, 14, 0)))
        cortex = self.grey(172, 14)

        def shape(points: np.ndarray) -> np.ndarray:
            return smooth_cut(
                ellipsoid(points, centre, radii, tilt), ellipsoid(points, hilum, (15, 13, 17)), 9.0
            )

        whole = Paint(
            shape=shape, centre=centre, reach=(56, 56, 56), hounsfield=cortex, texture=7.0, label=label
        )
        sinus = tuple(np.add(centre, (-side * 6, 3, 0)))
        medulla = self.blob(
            tuple(np.add(centre, (-side * 2, 1, 0))),
            tuple(r * 0.64 for r in radii),
            tilt,
            hounsfield=cortex - 38,
        )
        return [whole, medulla, self.blob(sinus, (9, 7, 22), tilt, hounsfield=self.random.uniform(-60, 20))]

    def stomach(self) -> list[Paint]:
        path = [(-58, -4, 50), (-66, 22, 26), (-56, 46, 0), (-18, 58, -20), (18, 50, -12)]
        path = [self.near(*p, spread_mm=5) for p in path]
        radii = np.array(self.sized(33, 31, 27, 21, 14, spread=0.1))
        level = path[1][1] + self.random.uniform(
            8, 20
        )  # mm; gas above the fluid of a patient lying on the back
        wall = self.pipe(path, radii, hounsfield=self.grey(78, 8), label=ORGANS["stomach"])
        fluid = self.pipe(path, radii - 5, hounsfield=self.random.uniform(10, 75), texture=14.0)
        gas = Paint(
            shape=lambda p: np.maximum(tube(p, path, radii - 5.5), level + 9 - p[1]),
            centre=wall.centre, reach=wall.reach, hounsfield=-880, texture=30.0,
        )  # fmt: skip
        return [wall, fluid, gas]

    def pancreas(self) -> Paint:
        path = [(27, 10, -36), (26, 18, -18), (4, 27, -6), (-28, 17, 2), (-56, 0, 10), (-80, -14, 18)]
        path = [self.near(*p) for p in path]
        radii = self.sized(13, 16, 12, 13, 13, 11, spread=0.08)
        return self.pipe(path, radii, hounsfield=self.grey(96, 8), texture=11.0, label=ORGANS["pancreas"])

    def aorta(self) -> Paint:
        path = [(-6, -18, -140), (-10, -18, -60), (-13, -20, 20), (-18, -30, 120)]
        path = [self.near(*p, spread_mm=2) for p in path]
        radii = self.sized(11, 11.5, 12.5, 13, spread=0.05)
        return self.pipe(path, radii, hounsfield=self.grey(165, 14), texture=3.0, label=ORGANS["aorta"])

    def gallbladder(self) -> Paint:
        path = [self.near(*p, spread_mm=4) for p in [(42, 34, -8), (52, 48, -22), (60, 62, -36)]]
        radii = self.sized(10, 16, 16, spread=0.1)
        return self.pipe(
            path, radii, hounsfield=self.grey(14, 6, 0), texture=3.0, label=ORGANS["gallbladder"]
        )
