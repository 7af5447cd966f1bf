"""Bodies with known depths."""

from __future__ import annotations

import numpy as np
import pytest

from pgsam_monai.data.drawn.bodies import Ellipsoid, Tube, Waves, rotation, tilt, wander


def points(*places) -> np.ndarray:
    return np.asarray(places, dtype=np.float32)


def ball(radius=2.0, **more) -> Ellipsoid:
    return Ellipsoid(
        centre=np.float32([1, 0, 0]),
        radii=np.full(3, radius, np.float32),
        axes=np.eye(3, dtype=np.float32),
        **more,
    )


def test_a_ball_is_as_deep_as_it_is_far_to_its_surface():
    assert ball().depth(points((1, 0, 0), (3, 0, 0), (1, 3, 0))) == pytest.approx([2, 0, -1])


def test_a_turned_ellipsoid_is_long_where_its_axis_points():
    """Its first semi-axis, 4 mm, points along y."""
    turned = np.float32([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    body = Ellipsoid(centre=np.zeros(3, np.float32), radii=np.float32([4, 1, 1]), axes=turned)
    assert (body.depth(points((0, 3.9, 0), (1.1, 0, 0))) > 0).tolist() == [True, False]


def test_a_bent_body_moves_its_ends_and_keeps_its_middle():
    """At the end of the second axis (local 1) a bend of 1 moves the first axis by its radius, against it."""
    body = ball(bend=1.0)
    assert body.depth(points((1, 0, 0)))[0] == pytest.approx(2)
    assert body.depth(points((-1, 1.9, 0)))[0] > body.depth(points((3, 1.9, 0)))[0]


def test_a_high_power_fills_the_corners_of_the_box():
    corner = points((1 + 1.6, 1.6, 0))
    assert ball().depth(corner)[0] < 0 < ball(power=8.0).depth(corner)[0]


def test_a_tube_is_a_row_of_cones():
    """From radius 2 to 1 over 10 mm: 1.5 in the middle."""
    tube = Tube(path=points((0, 0, 0), (10, 0, 0)), radii=np.float32([2, 1]))
    assert tube.depth(points((5, 1, 0), (5, 1.5, 0), (0, 0, 0)))[:3] == pytest.approx([0.5, 0, 2])
    assert np.allclose(tube.centre, [5, 0, 0]) and tube.reach == 7


def test_what_reaches_a_body_is_within_its_reach():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(4000, 3)).astype(np.float32) * 6
    for body in (ball(), ball(bend=0.8), ball(power=6.0)):
        inside = cloud[body.depth(cloud) > 0]
        assert len(inside) and np.linalg.norm(inside - body.centre, axis=1).max() <= body.reach


def test_waves_have_the_height_that_they_were_given():
    rng = np.random.default_rng(1)
    waves = Waves.at_random(rng, length_mm=10, count=64, components=1, height=3.0)
    assert waves(rng.uniform(-200, 200, (5000, 3)).astype(np.float32)).std() == pytest.approx(3, rel=0.35)


@pytest.mark.parametrize("turn", [rotation, lambda rng: tilt(rng, 30)])
def test_rotations_keep_lengths_and_hands(turn):
    matrix = turn(np.random.default_rng(2))
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-5) and np.linalg.det(matrix) == pytest.approx(
        1, abs=1e-5
    )


def test_a_path_without_chance_is_straight():
    path = wander(np.random.default_rng(0), (0, 0, 0), (0, 0, 2), steps=3, step_mm=5, turn=0.0)
    assert np.allclose(path, [[0, 0, 0], [0, 0, 5], [0, 0, 10], [0, 0, 15]])
