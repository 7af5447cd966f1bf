"""The same slice in many pictures; and what is asked about it."""

from __future__ import annotations

import numpy as np
import pytest

from pgsam_monai.data.drawn.anatomy import draw_anatomy
from pgsam_monai.data.drawn.bodies import Ellipsoid
from pgsam_monai.data.drawn.pictures import coloured_noise, draw_picture
from pgsam_monai.data.drawn.scenes import FLUID, SOFT, SceneBuilder
from pgsam_monai.data.drawn.targets import LEAST, MOST, choose_targets
from pgsam_monai.data.drawn.views import choose_view, cut


def two_organs():
    """Structure 1 with a cyst, 2, in it; 3 on its own; their label map on 32 × 32 pixels."""
    builder = SceneBuilder(np.random.default_rng(0))
    axes = np.eye(3, dtype=np.float32)
    organ = builder.add(Ellipsoid(centre=np.zeros(3), radii=np.full(3, 9), axes=axes), SOFT)
    builder.add(Ellipsoid(centre=np.zeros(3), radii=np.full(3, 3), axes=axes), FLUID, within=organ)
    builder.add(Ellipsoid(centre=np.zeros(3), radii=np.full(3, 3), axes=axes), SOFT)
    scene = builder.finish(reach=20, warp_mm=0.0)
    found = np.zeros((32, 32), dtype=np.int16)
    found[2:22, 2:22] = 1
    found[8:14, 8:14] = 2
    found[25:30, 25:30] = 3
    return scene, found


def test_noise_has_unit_variance_and_its_colour():
    rng = np.random.default_rng(0)
    white, slow = coloured_noise(rng, 64, 0), coloured_noise(rng, 64, 2.0)
    for noise in (white, slow):
        assert noise.dtype == np.float32 and noise.std() == pytest.approx(1, abs=0.05)
    neighbours = np.corrcoef(slow[:, 1:].ravel(), slow[:, :-1].ravel())[0, 1]
    assert neighbours > 0.9 and abs(np.corrcoef(white[:, 1:].ravel(), white[:, :-1].ravel())[0, 1]) < 0.1


def test_pictures_differ_by_seed_alone_and_stay_in_range():
    rng = np.random.default_rng(3)
    scene = draw_anatomy(rng)
    planes = cut(scene, choose_view(rng, scene, 48), 48)
    pictures = [draw_picture(np.random.default_rng(seed), scene, planes) for seed in (0, 0, *range(1, 30))]
    assert np.array_equal(pictures[0], pictures[1])
    for picture in pictures:
        assert picture.shape == (48, 48) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 1
    assert np.ptp([picture.mean() for picture in pictures]) > 0.1


def test_a_fixed_contrast_gives_each_tissue_its_own_grey():
    """Soft tissue at 90 HU, of a window from -160 to 240: 0.625."""
    scene, found = two_organs()
    pictures = [
        draw_picture(np.random.default_rng(n), scene, found[None], contrast="fixed") for n in range(9)
    ]
    picture = np.median(pictures, axis=0)
    assert np.median(picture[4:7, 4:20]) == pytest.approx(0.625, abs=0.03)
    assert np.median(picture[10:12, 10:12]) == pytest.approx(0.425, abs=0.06)


def test_targets_are_as_large_as_promised_and_of_every_kind():
    scene, found = two_organs()
    own = {1: found == 1, 2: found == 2, 3: found == 3}
    seen = {"alone": 0, "with cyst": 0, "part": 0, "together": 0}
    for seed in range(60):
        for target in choose_targets(np.random.default_rng(seed), scene, found, 3):
            assert target.dtype == bool and LEAST <= target.sum() <= MOST * target.size
            seen["alone"] += any(np.array_equal(target, mask) for mask in own.values())
            seen["with cyst"] += np.array_equal(target, own[1] | own[2])
            held = np.unique(found[target])
            seen["part"] += len(held) == 1 and held[0] > 0 and target.sum() < own[int(held[0])].sum()
            seen["together"] += np.array_equal(target, own[2] | own[1]) or 3 in held and len(held) > 1
    assert all(count > 2 for count in seen.values()), seen


def test_each_structure_is_asked_for_before_any_comes_again():
    scene, found = two_organs()
    for seed in range(20):
        targets = choose_targets(np.random.default_rng(seed), scene, found, 3)
        assert len({target.tobytes() for target in targets}) == 3


def test_a_slice_of_nothing_still_asks_for_something():
    scene, _ = two_organs()
    targets = choose_targets(np.random.default_rng(0), scene, np.zeros((32, 32), np.int16), 2)
    assert targets.shape == (2, 32, 32) and (targets.sum(axis=(1, 2)) >= LEAST).all()
