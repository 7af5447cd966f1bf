"""Label maps small enough to count by eye."""

import numpy as np
import pytest

from pgsam_monai.base.errors import UserFault
from preprocess.fingerprint.structures import find_components, find_runs, measure_labels, middle_of

SPACING = (0.5, 2.0, 4.0)


def label_map(*pieces, shape=(6, 5, 4), order="C"):
    label = np.zeros(shape, np.uint8, order=order)
    for value, box in pieces:
        label[box] = value
    return label


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_box_is_measured_along_every_axis(order):
    label = label_map((3, np.s_[1:5, 2:4, 1:2]), order=order)

    (value, facts), *others = measure_labels(label, SPACING).items()

    assert (value, others) == (3, [])
    assert facts.voxels == 4 * 2 * 1
    assert facts.volume_ml == pytest.approx(8 * 4.0 / 1000)
    assert facts.components == 1
    assert facts.extent_px == (4, 2, 1)
    assert facts.extent_mm == (2.0, 4.0, 4.0)
    assert facts.in_plane_px == (1, 1, 2)  # across i: 2 x 1, across j: 4 x 1, across k: 4 x 2
    assert facts.in_plane_mm == (4.0, 2.0, 2.0)
    assert facts.slices == (4 / 6, 2 / 5, 1 / 4)


@pytest.mark.parametrize("order", ["C", "F"])
def test_size_is_that_of_the_largest_component_and_volume_that_of_all(order):
    label = label_map((1, np.s_[0:2, 0:2, 0:2]), (1, np.s_[5, 4, 3]), order=order)

    facts = measure_labels(label, SPACING)[1]

    assert (facts.voxels, facts.components) == (9, 2)
    assert facts.extent_px == (2, 2, 2)
    assert facts.slices == (3 / 6, 3 / 5, 3 / 4)


@pytest.mark.parametrize(
    ("step", "components"), [((1, 0, 0), 1), ((1, 1, 0), 1), ((1, -1, 1), 1), ((2, 0, 0), 2), ((0, 2, 1), 2)]
)
def test_voxels_touch_by_face_edge_or_corner(step, components):
    label = np.zeros((5, 5, 5), np.uint8)
    label[2, 2, 2] = label[tuple(2 + np.array(step))] = 1

    assert measure_labels(label, (1, 1, 1))[1].components == components


def test_touching_values_stay_apart_and_lines_do_not_wrap_round():
    label = np.zeros((2, 3, 4), np.uint8)
    label[0, 0, 3] = 1
    label[0, 1, 0] = 1  # next to it in memory only
    label[1, 2, 0:2], label[1, 2, 2:4] = 2, 3

    assert {value: f.components for value, f in measure_labels(label, (1, 1, 1)).items()} == {
        1: 2,
        2: 1,
        3: 1,
    }


def test_median_side_in_a_slice_ignores_slices_without_the_structure():
    label = np.zeros((9, 9, 5), np.uint8)
    label[4, 4, 0], label[3:6, 3:6, 1], label[1:8, 1:8, 2] = 1, 1, 1  # a cone: 1, 3, 7 wide

    facts = measure_labels(label, (1.0, 1.0, 3.0))[1]

    assert facts.in_plane_px[2] == 3
    assert facts.in_plane_mm[2] == 3.0


def test_empty_map_and_single_slice():
    assert measure_labels(np.zeros((4, 4, 4), np.uint8), SPACING) == {}
    one = measure_labels(np.ones((3, 4, 1), np.uint16), SPACING)[1]
    assert (one.extent_px, one.slices) == ((3, 4, 1), (1, 1, 1))


def test_random_maps_agree_with_scipy():
    from scipy import ndimage

    random = np.random.default_rng(0)
    for trial in range(25):
        shape = tuple(random.integers(1, 9, 3))
        label = ((random.random(shape) < random.uniform(0.05, 0.6)) * random.integers(1, 4, shape)).astype(
            np.uint8
        )
        label = np.asfortranarray(label) if trial % 2 else label
        found = measure_labels(label, SPACING)
        assert list(found) == [value for value in np.unique(label) if value]
        for value, facts in found.items():
            mask = label == value
            assert facts.voxels == mask.sum()
            assert facts.components == ndimage.label(mask, np.ones((3, 3, 3)))[1]


def test_an_image_given_as_label_is_refused(monkeypatch):
    noise = np.arange(5000, dtype=np.uint16).reshape(10, 20, 25)
    with pytest.raises(UserFault, match="4999 different values"):
        measure_labels(noise, SPACING)
    monkeypatch.setattr("preprocess.fingerprint.structures.MAX_RUNS", 100)
    with pytest.raises(UserFault, match="changes 5000 times over 5000 voxels"):
        measure_labels(noise, SPACING)


def test_a_ring_is_one_component():
    label = np.ones((1, 20, 20), np.uint8)
    label[0, 1:-1, 1:-1] = 0
    label[0, 2:-2, 2:-2] = 1

    assert len(set(find_components(find_runs(label)))) == 2


def test_middle_of_is_numpys_median():
    random = np.random.default_rng(4)
    for shape in ((1,), (2,), (7,), (8, 3), (5, 3)):
        values = random.normal(size=shape)
        assert middle_of(values) == pytest.approx(np.median(values, axis=0))
