import numpy as np
import pytest

from pgsam_monai.base.volume import Volume
from pgsam_monai.predicting.measured import measure_image, measure_structures

AFFINE = np.array([[-1.0, 0, 0, 5], [0, 2, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])
AFFINE[2, 2] = 3.0  # LAS, 6 mm3


def volume(order="F"):
    voxels = np.zeros((1, 6, 5, 4), np.float32)
    voxels[0, :2, 1, 2], voxels[0, 3, 3, 3] = 10, 40
    return Volume(voxels=np.asarray(voxels, order=order), affine=AFFINE, spacing=(1.0, 2.0, 3.0))


def label_map(value, order="F"):
    labels = np.zeros((6, 5, 4), np.uint16, order=order)
    labels[:2, 1, 2] = labels[3, 3, 3] = value
    return labels


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("value", [5, 420])
def test_a_structure(order, value):
    image = volume(order)
    measured = measure_image(image, has_geometry=True)
    labels = {"rod": value, "lost": 7}
    rod, lost = measure_structures(label_map(value, order), labels, AFFINE, image, measured)
    assert (rod.name, rod.value, rod.voxels, rod.pieces) == ("rod", value, 3, 2)
    assert rod.millilitres == pytest.approx(0.018)
    assert rod.centroid == pytest.approx((4 / 3, 5 / 3, 7 / 3))
    assert rod.centroid_mm == pytest.approx((5 - 4 / 3, 10 / 3, 8))
    assert rod.position == pytest.approx((1 - (4 / 3 + 0.5) / 6, (5 / 3 + 0.5) / 5, (7 / 3 + 0.5) / 4))
    assert rod.means == (20.0,)
    assert (lost.voxels, lost.pieces, lost.millilitres, lost.centroid, lost.means) == (0, 0, 0.0, None, None)


def test_corners_touch():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 1
    (found,) = measure_structures(labels, {"a": 1}, np.eye(4), None, None)
    assert (found.pieces, found.millilitres, found.centroid, found.position) == (
        1,
        None,
        (0.5, 0.5, 0.5),
        None,
    )


def test_a_class_of_value_zero():
    labels = np.full((4, 4, 1), 255, np.uint8)
    labels[1:3, 1, 0] = 0
    cup, disc = measure_structures(labels, {"cup": 0, "disc": 128}, np.eye(4), None, None)
    assert (cup.voxels, cup.centroid, disc.voxels) == (2, (1.5, 1.0, 0.0), 0)


def test_an_image():
    measured = measure_image(volume(), has_geometry=True)
    assert (measured.orientation, measured.shape, measured.spacing) == ("LAS", (6, 5, 4), (1.0, 2.0, 3.0))
    assert measured.means == pytest.approx((60 / 120,))
    plain = measure_image(volume(), has_geometry=False)
    assert plain.orientation == ""


def test_an_image_on_another_grid_says_nothing_of_intensities():
    image = volume()
    (found,) = measure_structures(
        np.ones((2, 2, 2), np.uint8), {"a": 1}, AFFINE, image, measure_image(image, has_geometry=True)
    )
    assert found.means is None and found.scaled_means is None and found.voxels == 8


def test_a_channel_of_one_value_has_no_scale():
    image = Volume(voxels=np.ones((1, 2, 2, 2), np.float32), affine=np.eye(4), spacing=(1.0, 1.0, 1.0))
    (found,) = measure_structures(
        np.ones((2, 2, 2), np.uint8), {"a": 1}, np.eye(4), image, measure_image(image, has_geometry=True)
    )
    assert found.means == (1.0,) and found.scaled_means is None
