"""Overlay pictures: orientation, aspect, choice of slices, colours."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pgsam_monai.base.colours import COLOURS, colour_of
from pgsam_monai.base.planes import choose_plane
from pgsam_monai.data.phantom import ORGANS, make_phantom
from pgsam_monai.pictures.overlays import choose_slices, crop_view, make_view, write_overlays


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
@pytest.mark.parametrize(
    "plane, expected",
    [
        ("axial", (1, 0, 4)),  # slices from the foot, rows from the front, columns from the right
        ("coronal", (0, 5, 4)),  # slices from the front, rows from the head, columns from the right
        ("sagittal", (4, 5, 0)),  # slices from the right, rows from the head, columns from the front
    ],
)
def test_views_are_radiological(signs, plane, expected):
    """A voxel far left (patient), foremost, second from the foot."""
    affine = np.diag([*map(float, signs), 1.0])
    volume = np.zeros((5, 6, 7), int)
    index = [0 if signs[0] > 0 else 4, 5 if signs[1] > 0 else 0, 1 if signs[2] > 0 else 5]
    volume[tuple(index)] = 1
    view = make_view(volume, volume, None, affine, plane)
    assert tuple(int(v) for v in np.argwhere(view.prediction)[0]) == expected


def test_pictures_stay_as_they_are():
    picture = np.arange(12).reshape(3, 4, 1)
    view = make_view(picture, picture, picture, np.eye(4), "none")
    assert np.array_equal(view.image[0], picture[..., 0]) and view.reference is not None


def test_plane_follows_the_largest_spacing():
    assert choose_plane((64, 64, 20), np.diag([1, 1, 4.0, 1])) == "axial"
    assert choose_plane((64, 20, 64), np.diag([1, 4.0, 1, 1])) == "coronal"
    assert choose_plane((20, 64, 64), np.diag([4.0, 1, 1, 1])) == "sagittal"
    assert choose_plane((64, 64, 64), np.eye(4)) == "axial"
    assert choose_plane((64, 64, 1), np.eye(4)) == "none"


def test_slices_show_every_class_and_the_worst_disagreement():
    reference = np.zeros((8, 8, 10), int)
    reference[2:5, 2:5, 2], reference[2:5, 2:5, 6] = 1, 2
    prediction = reference.copy()
    prediction[0:5, 0:5, 8] = 1
    view = make_view(reference, prediction, reference, np.diag([1, 1, 3.0, 1]), "axial")
    assert choose_slices(view, {"a": 1, "b": 2}, 3) == [2, 6, 8]
    alone = make_view(reference, prediction * 0, None, np.diag([1, 1, 3.0, 1]), "axial")
    assert choose_slices(alone, {"a": 1, "b": 2}, 1) == [5]  # nothing predicted: the middle


def test_crop_keeps_all_classes_with_a_margin():
    label = np.zeros((100, 80, 3), int)
    label[40:60, 30:50, 1] = 1
    view = crop_view(make_view(label, label, None, np.diag([1, 1, 3.0, 1]), "axial"), {"a": 1})
    assert view.prediction.sum() == label.sum() and view.image.shape == (3, 20 + 2 * 15, 20 + 2 * 15)
    empty = make_view(label, label * 0, None, np.diag([1, 1, 3.0, 1]), "axial")
    assert crop_view(empty, {"a": 1}).image.shape == (3, 80, 100)


def test_colours_are_distinct():
    assert len({colour_of(index) for index in range(16)}) == 16 == len(COLOURS)


def test_page_from_files(tmp_path):
    phantom = make_phantom(1, (48, 40, 12))
    files = [tmp_path / f"{name}.nii.gz" for name in ("case_1", "prediction", "reference")]
    for file, array in zip(files, (phantom.image, phantom.label, phantom.label), strict=True):
        nib.save(nib.Nifti1Image(array, phantom.affine), file)
    page = write_overlays(*files, folder=tmp_path / "overlays", labels=ORGANS, window=(-160, 240), slices=2)
    assert page == tmp_path / "overlays" / "case_1.png"
    assert [p.name for p in page.parent.iterdir()] == ["case_1.png"]
    pixels = np.asarray(Image.open(page))
    liver = colour_of(list(ORGANS).index("liver"))
    assert (pixels == liver).all(axis=-1).sum() > 200


def test_aspect_follows_the_spacing(tmp_path):
    label = np.zeros((40, 40, 20), int)
    label[10:30, 10:30, 5:15] = 1
    view = make_view(label, label, None, np.diag([1, 1, 5.0, 1]), "coronal")
    assert view.pixel == (5.0, 1.0) and view.image.shape == (40, 20, 40)


def test_colour_pictures_and_arrays(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (30, 44, 3)).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / "photo.jpg")
    mask = np.zeros((30, 44), np.uint8)
    mask[8:20, 10:30] = 1
    assert write_overlays(tmp_path / "photo.jpg", mask, mask, folder=tmp_path).name == "photo.png"
    with pytest.raises(ValueError, match="prediction shape"):
        write_overlays(tmp_path / "photo.jpg", mask[1:], folder=tmp_path)
