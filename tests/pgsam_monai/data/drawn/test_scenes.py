"""Structures in the order of painting, each within what it was confined to."""

from __future__ import annotations

import numpy as np
import pytest

from pgsam_monai.data.drawn.anatomy import draw_anatomy
from pgsam_monai.data.drawn.bodies import Ellipsoid
from pgsam_monai.data.drawn.scenes import BONE, FLUID, SOFT, Cells, SceneBuilder, families
from pgsam_monai.data.drawn.shapes import draw_shapes
from pgsam_monai.data.drawn.views import View, choose_view, cut


def ball(x: float, radius: float) -> Ellipsoid:
    return Ellipsoid(
        centre=np.float32([x, 0, 0]), radii=np.full(3, radius, np.float32), axes=np.eye(3, dtype=np.float32)
    )


def along_x(*places) -> np.ndarray:
    return np.float32([[x, 0, 0] for x in places])


def test_the_last_painted_wins_and_a_child_stays_within_its_parent():
    builder = SceneBuilder(np.random.default_rng(0))
    organ = builder.add(ball(0, 10), SOFT)
    cyst = builder.add(ball(9, 4), FLUID, within=organ)
    bone = builder.add(ball(-9, 2), BONE)
    scene = builder.finish(reach=20, warp_mm=0.0)
    assert scene.structures_at(along_x(0, 8, 12, -9, -10.5, 30)).tolist() == [organ, cyst, 0, bone, bone, 0]
    assert scene.family[organ].tolist() == [False, True, True, False]
    assert scene.tissues.tolist() == [0, SOFT, FLUID, BONE]


def test_families_reach_grandchildren():
    family = families(np.int16([0, 0, 1, 2, 0]))
    assert family[1].tolist() == [False, True, True, True, False]
    assert family[2].tolist() == [False, False, True, True, False]


def test_cells_fill_their_hull_and_touch():
    builder = SceneBuilder(np.random.default_rng(0))
    hull = builder.add(ball(0, 10), SOFT)
    numbers = builder.fill(
        Cells(seeds=along_x(-5, 5), weights=np.zeros(2, np.float32), tissues=(SOFT, BONE), within=hull)
    )
    scene = builder.finish(reach=20, warp_mm=0.0)
    assert list(numbers) == [2, 3]
    assert scene.structures_at(along_x(-9, -0.1, 0.1, 9, 11)).tolist() == [2, 2, 3, 3, 0]


def test_a_view_lays_pixels_where_it_says():
    """Rows run along y, columns along x, 2 mm and 1 mm apart; a plane behind lies on the third axis."""
    view = View(centre=np.float32([10, 0, 0]), down=np.float32([0, 2, 0]), across=np.float32([1, 0, 0]))
    assert view.points(2).tolist() == [[9.5, -1, 0], [10.5, -1, 0], [9.5, 1, 0], [10.5, 1, 0]]
    assert set(view.points(2, depth_mm=3)[:, 2].tolist()) == {-3.0}


def test_a_thick_slice_has_three_planes():
    builder = SceneBuilder(np.random.default_rng(0))
    builder.add(ball(0, 3), SOFT)
    scene = builder.finish(reach=20, warp_mm=0.0)
    view = View(
        centre=np.zeros(3, np.float32),
        down=np.float32([0, 1, 0]),
        across=np.float32([0, 0, 1]),
        thickness_mm=8.0,
    )
    middle, below, above = cut(scene, view, 8)
    assert middle.any() and not below.any() and not above.any()


@pytest.mark.parametrize("draw", [draw_anatomy, draw_shapes])
def test_scenes_are_drawn_alike_from_a_seed_and_show_something(draw):
    shown = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene = draw(rng)
        found = cut(scene, choose_view(rng, scene, 32), 32)[0]
        assert found.max() < len(scene.tissues) == len(scene.family)
        shown.append(len(np.unique(found[found > 0])))
    assert np.mean([number >= 2 for number in shown]) > 0.9
    again = np.random.default_rng(11)
    scene = draw(again)
    assert np.array_equal(cut(scene, choose_view(again, scene, 32), 32)[0], found)
