"""How structures look: grey values, texture, and all that scanners do to them. Nothing of it has to be realistic, but
whatever a real scan shows should be no stranger than what is drawn here (SynthSeg, Billot et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pgsam_monai.data.drawn.scenes import (
    AIR,
    BLOOD,
    BONE,
    FAT,
    FLUID,
    LUNG,
    MUSCLE,
    SKIN,
    SOFT,
    TISSUES,
    Scene,
)

CT_HU = {
    AIR: (-1000, -1000), LUNG: (-900, -600), FAT: (-120, -70), MUSCLE: (35, 70), SOFT: (20, 150), BLOOD: (30, 350),
    FLUID: (-10, 30), BONE: (150, 1200), SKIN: (-20, 60),
}  # fmt: skip
"""Range of each tissue's mean; a structure's own lies near its tissue's."""
FIXED_HU = {
    AIR: -1000,
    LUNG: -800,
    FAT: -100,
    MUSCLE: 55,
    SOFT: 90,
    BLOOD: 150,
    FLUID: 10,
    BONE: 500,
    SKIN: 20,
}
CONTRASTS = ("random", "fixed")
KINDS = {"ct": 0.4, "mr": 0.3, "any": 0.22, "ultrasound": 0.08}
"""What pictures look like, and how often."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a structure of each number looks like."""

    means: np.ndarray
    """(n + 1,) grey value, the surroundings first"""
    coarse: np.ndarray
    """(n + 1,) standard deviation of slow texture"""
    fine: np.ndarray
    """(n + 1,) and of quick texture"""


def draw_picture(
    rng: np.random.Generator, scene: Scene, planes: np.ndarray, *, contrast: str = "random"
) -> np.ndarray:
    """One picture of a slice.

    Args:
        rng: draws it; another one gives another picture of the same slice.
        scene: what the structures are made of.
        planes: (planes, S, S) int16 of `views.cut`.
        contrast: "random", or "fixed": CT with the same grey values each time, for the ablation.

    Returns:
        (S, S) float32, 0 to 1.
    """
    kind = "fixed" if contrast == "fixed" else str(rng.choice(list(KINDS), p=list(KINDS.values())))
    in_hu, look = kind in ("ct", "fixed"), _LOOKS[kind](rng, scene)
    picture = _paint(rng, look, planes)
    if kind == "ultrasound":
        picture = _ultrasound(rng, picture)
    if not in_hu and rng.random() < 0.6:
        picture = picture * _bias(rng, len(picture))
    picture = _scan(rng, picture, spread=450.0 if in_hu else 1.0)
    picture = _faults(rng, picture)
    return _window(rng, picture, fixed=kind == "fixed") if in_hu else _percentiles(rng, picture)


def _look_ct(rng: np.random.Generator, scene: Scene) -> Look:
    tissue = np.array([rng.uniform(*CT_HU[tissue]) for tissue in range(TISSUES)])
    spread = np.array([0, 30, 8, 8, 25, 25, 8, 150, 15]) * rng.uniform(0.2, 1.5)
    count = len(scene.tissues)
    means = tissue[scene.tissues] + rng.normal(size=count) * spread[scene.tissues]
    return Look(
        means=means, coarse=rng.uniform(0, 12, count) * (scene.tissues != AIR),
        fine=rng.uniform(0, 10, count) * (scene.tissues != AIR) * (1 + 9 * (scene.tissues == BONE)),
    )  # fmt: skip


def _look_fixed(rng: np.random.Generator, scene: Scene) -> Look:
    means = np.array([FIXED_HU[tissue] for tissue in scene.tissues.tolist()], dtype=float)
    return Look(means=means, coarse=np.zeros(len(means)), fine=np.zeros(len(means)))


def _look_mr(rng: np.random.Generator, scene: Scene) -> Look:
    tissue = rng.uniform(0, 1, TISSUES) ** rng.uniform(0.7, 1.5)
    tissue[AIR] = 0.0 if rng.random() < 0.8 else rng.random()
    count = len(scene.tissues)
    jitter = rng.normal(size=count) * rng.uniform(0, 0.12) * (scene.tissues != AIR)
    return _textured(rng, tissue[scene.tissues] + jitter, 0.08)


def _look_any(rng: np.random.Generator, scene: Scene) -> Look:
    return _textured(rng, rng.uniform(0, 1, len(scene.tissues)), 0.15)


def _textured(rng: np.random.Generator, means: np.ndarray, most: float) -> Look:
    few = rng.uniform(0, 1, (2, len(means))) ** 2 * most * rng.uniform(0, 1)
    return Look(means=means, coarse=few[0], fine=few[1])


_LOOKS = {"ct": _look_ct, "fixed": _look_fixed, "mr": _look_mr, "any": _look_any, "ultrasound": _look_any}


def coloured_noise(rng: np.random.Generator, size: int, power: float) -> np.ndarray:
    """(size, size) float32 of unit variance whose amplitudes fall with frequency to that power: 0 is white."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    if power == 0:
        return white
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.sqrt(rows**2 + columns**2)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(white) * frequency**-power, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def _paint(rng: np.random.Generator, look: Look, planes: np.ndarray) -> np.ndarray:
    size = planes.shape[1]
    coarse = coloured_noise(rng, size, rng.uniform(1.2, 2.2))
    fine = coloured_noise(rng, size, rng.uniform(0, 0.8))
    means, first = look.means.astype(np.float32), planes[0]
    flat = np.mean([means[plane] for plane in planes], axis=0) if len(planes) > 1 else means[first]
    return flat + look.coarse.astype(np.float32)[first] * coarse + look.fine.astype(np.float32)[first] * fine


def _bias(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2, indexing="ij")
    terms = np.stack([x, y, x * x, y * y, x * y])
    return np.exp(np.tensordot(rng.normal(size=5) * rng.uniform(0, 0.35), terms, 1)).astype(np.float32)


def _ultrasound(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Speckle, echoes at edges, shadows from the top, a sector."""
    size = len(picture)
    speckle = np.hypot(*(coloured_noise(rng, size, rng.uniform(0, 0.6)) for _ in range(2)))
    edges = np.abs(ndimage.sobel(picture, axis=0)) * rng.uniform(0, 0.5)
    picture = (picture + edges) * (0.3 + 0.7 * speckle)
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    angle = np.arctan2(x - size / 2 + rng.normal() * size / 10, y + rng.uniform(5, size / 2))
    for _ in range(rng.integers(0, 3)):
        picture = picture * (
            1 - 0.8 * np.exp(-(((angle - rng.normal() * 0.4) / rng.uniform(0.02, 0.1)) ** 2))
        )
    return np.where(np.abs(angle) < rng.uniform(0.5, 1.2), picture, 0).astype(np.float32)


def _scan(rng: np.random.Generator, picture: np.ndarray, *, spread: float) -> np.ndarray:
    """Point spread, coarse pixels, noise."""
    picture = ndimage.gaussian_filter(picture, rng.uniform(0.3, 1.3, 2) * rng.choice([1, 1, 1, 1.7]))
    if rng.random() < 0.25:
        factor = rng.uniform(0.25, 0.7)
        small = ndimage.zoom(picture, factor, order=1)
        picture = ndimage.zoom(small, len(picture) / np.array(small.shape), order=1)[
            : len(picture), : len(picture)
        ]
    level = spread * rng.uniform(0, 0.1) ** 1.3
    if rng.random() < 0.3:
        level *= 2
    return picture + level * coloured_noise(rng, len(picture), rng.choice([0.0, 0.0, rng.uniform(0, 0.6)]))


def _faults(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Now and then metal, or a patient who moved."""
    size, span = len(picture), float(picture.max() - picture.min()) + 1e-6
    if rng.random() < 0.03:
        place = rng.uniform(0.2, 0.8, 2) * size
        y, x = np.meshgrid(np.arange(size) - place[0], np.arange(size) - place[1], indexing="ij")
        distance, angle = np.hypot(y, x), np.arctan2(y, x)
        streaks = np.cos(rng.integers(2, 9) * angle + rng.uniform(0, 6)) * np.exp(
            -distance / rng.uniform(10, 40)
        )
        picture = np.where(distance < rng.uniform(1.5, 5), picture.max(), picture + 0.6 * span * streaks)
    if rng.random() < 0.04:
        axis, step = int(rng.integers(2)), int(rng.integers(4, 40))
        ghosts = np.roll(picture, step, axis) + np.roll(picture, -step, axis)
        picture = picture + rng.uniform(0.03, 0.2) * ghosts
    return picture


def _window(rng: np.random.Generator, picture: np.ndarray, *, fixed: bool) -> np.ndarray:
    if fixed:
        low, high = -160.0, 240.0
    elif rng.random() < 0.85:
        centre, width = rng.uniform(0, 110), np.exp(rng.uniform(np.log(200), np.log(700)))
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = -1000.0, rng.uniform(200, 1500)
    return np.clip((picture - low) / (high - low), 0, 1).astype(np.float32)


def _percentiles(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    low, high = np.percentile(picture, (rng.uniform(0, 2), rng.uniform(97, 100)))
    scaled = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
    return (scaled ** np.exp(rng.normal() * 0.25)).astype(np.float32)
