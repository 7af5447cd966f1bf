"""What a page holds: the same voxels, the right way round, and true numbers of its classes."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from page_reader import read_page, unpack
from small_volumes import oblique_affine

from pgsam_monai.pictures.page import encode, facts, grid
from pgsam_monai.pictures.page.classes import class_colour, find_classes
from pgsam_monai.pictures.page.encode import find_windows
from pgsam_monai.pictures.page.grid import make_grid, reduce_grey, reduce_labels, reduction
from pgsam_monai.pictures.page.write import write_page

LPS = np.diag([-1.0, -2.0, 3.0, 1.0])
"""An affine whose voxels lie as they are shown: x to the left, y to the back, z to the head."""


def save(path, voxels, affine=LPS):
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def page_of(folder, image, label=None, affine=LPS, **options):
    """Facts and arrays of the page of a volume (i, j, k)."""
    label = np.zeros(image.shape, np.uint8) if label is None else label
    files = save(folder / "image.nii.gz", image, affine), save(folder / "label.nii.gz", label, affine)
    return read_page(write_page(*files, file=folder / "page.html", **options))


def random_volume(kind, shape=(7, 6, 5)):
    random = np.random.default_rng(3)
    if kind == "int16":
        volume = random.integers(-32768, 32768, shape).astype(np.int16)
        volume.flat[:2] = -32768, 32767
        return volume
    if kind == "uint8":
        return random.integers(0, 256, shape).astype(np.uint8)
    if kind == "one slice":
        return random.integers(-1024, 3072, (*shape[:2], 1)).astype(np.int16)
    return np.round(random.normal(0, 500, shape)).astype(
        np.float32
    )  # whole numbers as floats, as many CTs are


@pytest.mark.parametrize("kind", ["int16", "uint8", "one slice", "whole floats"])
@pytest.mark.parametrize("slab_voxels", [encode.SLAB_VOXELS, 90])
def test_whole_numbers_come_back_exactly(kind, slab_voxels, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "SLAB_VOXELS", slab_voxels)
    volume = random_volume(kind)
    found, arrays = page_of(tmp_path, volume)
    assert found["slabSlices"] == max(1, slab_voxels // 42)
    assert np.array_equal(arrays["grey"], volume.transpose(2, 1, 0))


def test_other_numbers_come_back_closely_and_outliers_are_cut_off(tmp_path):
    volume = np.random.default_rng(0).normal(0.5, 0.1, (20, 20, 20)).astype(np.float32)
    volume[3, 4, 5] = 1e6
    _, arrays = page_of(tmp_path, volume)
    expected = volume.transpose(2, 1, 0)
    middle = np.subtract(*np.percentile(volume, (99.5, 0.5)))
    inside = expected < 1e5
    assert np.abs(arrays["grey"] - expected)[inside].max() <= 0.51 * middle / encode.FINENESS
    assert 10 < arrays["grey"][5, 4, 3] / middle < 40


def test_wide_whole_numbers_are_rounded_to_fit(tmp_path):
    volume = np.arange(0, 200_000, 100, dtype=np.int32).reshape(20, 10, 10)
    found, arrays = page_of(tmp_path, volume)
    assert found["step"] > 1
    assert np.abs(arrays["grey"] - volume.transpose(2, 1, 0)).max() <= 0.51 * found["step"]


def test_voxels_without_a_number_are_lowest_and_told_of(tmp_path):
    volume = np.full((4, 4, 4), 7.0, np.float32)
    volume[0, 0, 0], volume[1, 0, 0], volume[2, 0, 0] = np.nan, np.inf, 3
    found, arrays = page_of(tmp_path, volume)
    assert arrays["grey"][0, 0].tolist() == [3, 3, 3, 7]
    assert found["notes"] == ["2 voxels without a number are shown as the lowest value."]


@pytest.mark.parametrize("value", [0, -5, 1234.5])
def test_a_constant_image_has_a_window(value, tmp_path):
    found, arrays = page_of(tmp_path, np.full((3, 3, 3), value, np.float32))
    assert np.all(arrays["grey"] == value)
    assert all(window["high"] > window["low"] for window in found["windows"])


def test_more_than_255_classes_take_two_bytes(tmp_path):
    label = np.arange(8 * 8 * 8, dtype=np.int16).reshape(8, 8, 8)
    found, arrays = page_of(tmp_path, label, label)
    assert found["classBytes"] == 2 and len(found["classes"]) == 511
    assert np.array_equal(arrays["prediction"], label.transpose(2, 1, 0))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_order_of_axes_is_shown_alike(axes, signs, tmp_path):
    """A voxel at the patient's right, front and foot is the first; the one at the left, back and head the last."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] @ np.diag(np.array(signs, float) * (1.0, 2.0, 3.0))
    volume = np.zeros((3, 4, 5), np.int16)
    towards = {0: 1, 1: 1, 2: -1}  # right is +x, front is +y, foot is -z in RAS
    place = tuple(volume.shape[n] - 1 if towards[axis] * signs[n] > 0 else 0 for n, axis in enumerate(axes))
    volume[place] = 100
    found = make_grid(volume.shape, affine, anatomical=True)
    turned = found.turn(volume)
    assert turned[0, 0, 0] == 100
    assert np.allclose(found.corners_mm()[0], nib.affines.apply_affine(affine, place))
    spacing = dict(zip(axes, (1.0, 2.0, 3.0), strict=True))
    assert found.spacing == (spacing[0], spacing[1], spacing[2])


def test_pictures_and_archives_are_shown_as_stored():
    found = make_grid((4, 6, 1), np.eye(4), anatomical=False)
    array = np.arange(24).reshape(4, 6, 1)
    assert np.array_equal(found.turn(array)[0], array[..., 0]) and found.shape == (6, 4, 1)


def test_an_oblique_image_is_said_to_be(tmp_path):
    image = np.zeros((4, 5, 6), np.int16)
    found, _ = page_of(tmp_path, image, affine=oblique_affine())
    expected = np.degrees(np.arccos(np.cos(0.2) * np.cos(0.1)))
    assert found["notes"] == [f"Oblique by {expected:.0f}°: planes follow the voxels."]
    assert page_of(tmp_path, image)[0]["notes"] == []


def test_the_finest_axes_are_reduced_first():
    assert reduction((512, 512, 256), (0.7, 0.7, 1.0)) == (1, 1, 1)
    assert reduction((512, 512, 800), (0.7, 0.7, 1.0)) == (2, 2, 1)
    assert reduction((600, 600, 600), (1.0, 1.0, 1.0)) == (2, 2, 2)
    assert reduction((1, 20000, 20000), (1.0, 1.0, 1.0)) == (1, 4, 4)


def test_blocks_become_their_mean_and_their_middle_label():
    volume = np.arange(15, dtype=np.float32).reshape(1, 3, 5)  # (z, y, x)
    assert reduce_grey(volume, (2, 2, 1)).tolist() == [[[3, 5, 6.5], [10.5, 12.5, 14]]]
    assert reduce_labels(volume.astype(int), (2, 2, 1)).tolist() == [[[6, 8, 9], [11, 13, 14]]]


def test_a_reduced_page_says_so_and_counts_every_voxel(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "MAX_VOXELS", 300)
    label = np.zeros((10, 10, 10), np.uint8)
    label[4, 5, 6:9] = 1
    image = np.add.outer(np.add.outer(np.arange(10), np.arange(10)), np.arange(10)).astype(np.int16)
    found, arrays = page_of(tmp_path, image, label, np.diag([-1.0, -1.0, 3.0, 1.0]))
    assert found["shape"] == [5, 5, 10] and found["factors"] == [2, 2, 1] and found["spacing"] == [2, 2, 3]
    assert found["notes"] == [
        "Reduced: 2 × 2 × 1 voxels are shown as one, small structures may be missing. Volumes are exact."
    ]
    assert (found["classes"][0]["voxels"], found["classes"][0]["best"]) == (3, [2, 2, 7])
    assert arrays["grey"][0, 0, 0] == 1 and arrays["grey"][9, 4, 4] == 26


def label_maps():
    """(z, y, x): value 2 in 8 voxels, 3 of them at z = 2; 7 in one; the reference shifts 2 and has 9 instead of 7."""
    prediction = np.zeros((4, 5, 6), np.int32)
    prediction[1:3, 1:3, 1:3] = 2
    prediction[3, 4, 5] = 7
    prediction[2, 2, 3] = 2
    reference = np.zeros_like(prediction)
    reference[1:3, 1:3, 2:4] = 2
    reference[0, 0, 1] = 9
    return prediction, reference


def test_classes_are_counted_compared_and_found():
    rows = find_classes(*label_maps(), {"liver": 2, "spleen": 5})
    told = [(row.name, row.value, row.voxels, row.reference_voxels, row.dice, row.best) for row in rows]
    assert told == [
        ("liver", 2, 9, 8, 2 * 5 / 17, (2, 2, 2)),
        ("spleen", 5, 0, 0, None, None),
        ("label 7", 7, 1, 0, 0.0, (5, 4, 3)),
        ("label 9", 9, 0, 1, 0.0, (1, 0, 0)),
    ]
    assert [row.dice for row in find_classes(label_maps()[0], None, {})] == [None, None]


def test_the_background_may_have_any_value():
    rows = find_classes(label_maps()[0], None, {"cup": 0, "rim": 2}, background=7)
    assert [(row.name, row.voxels) for row in rows] == [("cup", 110), ("rim", 9)]
    rows = find_classes(label_maps()[0], None, {"cup": 0}, background=None)
    assert [(row.name, row.voxels) for row in rows] == [("cup", 110)]


def test_a_name_like_ours_hides_no_other_class():
    rows = find_classes(label_maps()[0], None, {"label 7": 2})
    assert [(row.name, row.value) for row in rows] == [("label 7", 2), ("label 7", 7)]


@pytest.mark.parametrize(
    "labels, said",
    [({"a": 1, "b": 1}, "a value each"), ({"a": 2**24}, "between 0 and"), ({"a": -1}, "between 0 and")],
)
def test_names_that_make_no_sense(labels, said):
    with pytest.raises(ValueError, match=said):
        find_classes(label_maps()[0], None, labels)


def test_an_image_is_no_label_map():
    with pytest.raises(ValueError, match="1499 values, more than 1000 are no classes"):
        find_classes(np.arange(1500).reshape(10, 15, 10), None, {})


def test_a_volume_in_ml_and_its_place(tmp_path):
    label = np.zeros((6, 7, 8), np.uint8)
    label[2:4, 3:5, 5] = 1
    found, _ = page_of(tmp_path, label, label)
    (shown,) = found["classes"]
    assert shown["ml"] == pytest.approx(4 * 6 / 1000) and shown["best"] == [3, 4, 5] == found["start"]


def test_colours_repeat_late():
    assert class_colour(0) == "#e69f00"
    assert len({class_colour(index) for index in range(48)}) == 48 and class_colour(48) == class_colour(0)


def test_windows_fit_the_kind_of_image():
    ct = np.linspace(-1000, 1500, 1000, dtype=np.float32).reshape(10, 10, 10)
    names = [name for name, _, _ in find_windows(ct)]
    assert names[:3] == ["Soft tissue", "Lung", "Bone"] and names[-1] == "All"
    mr = np.linspace(0, 1000, 1000, dtype=np.float32).reshape(10, 10, 10)
    assert find_windows(mr)[0] == ("1–99 %", pytest.approx(10), pytest.approx(990))
    assert find_windows(mr, given=(5, 6))[0] == ("Given", 5, 6)
    assert find_windows(mr, colour=True) == [("As stored", 0, 255)]


def test_a_page_is_as_small_as_its_noise(tmp_path):
    """Noise of 15 HU has 5.9 bits a voxel at best; base64 makes 7.9 of them."""
    random = np.random.default_rng(1)
    body = np.round(random.normal(40, 15, (96, 96, 24))).astype(np.int16)
    label = np.zeros(body.shape, np.uint8)
    label[20:60, 30:70, 5:15] = 3
    save(tmp_path / "body.nii.gz", body)
    save(tmp_path / "map.nii.gz", label)
    page = write_page(tmp_path / "body.nii.gz", tmp_path / "map.nii.gz", file=tmp_path / "page.html")
    empty = write_page(tmp_path / "map.nii.gz", tmp_path / "map.nii.gz", file=tmp_path / "empty.html")
    assert (page.stat().st_size - empty.stat().st_size) * 8 / body.size < 10
    assert empty.stat().st_size < 60_000


def test_the_slabs_of_a_page_are_a_few_megabytes():
    assert encode.slab_slices((512, 512, 200)) == 16
    assert encode.slab_slices((8000, 8000, 1)) == 1
    assert grid.MAX_VOXELS == 512 * 512 * 256
    assert unpack(encode.pack_text(b"abc")) == b"abc"
