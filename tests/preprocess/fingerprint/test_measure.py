"""Cases small enough to work out by hand."""

import nibabel
import numpy as np
import pytest
from dataset_builders import oblique_affine, write_volume
from facts_builders import add_case, dataset_of, four_cases

from preprocess.fingerprint.dataset import measure_dataset
from preprocess.fingerprint.measure import as_classes, cropped_shape, measure_case, orientation_of
from preprocess.layouts import Case


@pytest.fixture
def dataset(tmp_path):
    return four_cases(tmp_path)


def test_one_case(dataset):
    facts = measure_case(dataset.cases[1], dataset).facts

    assert facts.error is None
    assert facts.shape == facts.label_shape == facts.cropped_shape == (6, 5, 4)
    assert facts.spacing == pytest.approx((0.75, 1.5, 3.0))
    assert np.array(facts.affine) == pytest.approx(oblique_affine())
    assert (facts.orientation, facts.dtype, facts.channels) == ("RAS", "int16", 1)
    assert (facts.image[0].min, facts.image[0].max) == (-7, 13)
    assert (facts.intensity[0].count, facts.intensity[0].mean, facts.intensity[0].median) == (4, 11.5, 11.5)
    assert (facts.labels[1].voxels, facts.labels[1].extent_px) == (4, (2, 2, 1))
    assert facts.labels[1].volume_ml == pytest.approx(4 * 0.75 * 1.5 * 3.0 / 1000)
    assert list(facts.files) == ["images/case_1.nii.gz", "labels/case_1.nii.gz"]
    assert all(len(digest) == 64 for digest in facts.files.values())


def test_channels_in_one_file_and_in_several(tmp_path):
    label = np.zeros((4, 4, 3), np.uint8)
    label[1:3, 1:3, 1] = 1
    channels = [np.full((4, 4, 3), value, np.float32) + label * 0.25 for value in (1, 2)]
    write_volume(tmp_path / "both.nii", np.stack(channels, axis=-1))
    for number, channel in enumerate(channels):
        write_volume(tmp_path / f"one_{number}.nii", channel)
    write_volume(tmp_path / "label.nii", label)
    together = Case(name="together", images=("both.nii",), label="label.nii")
    apart = Case(name="apart", images=("one_0.nii", "one_1.nii"), label="label.nii")

    fingerprint = measure_dataset(dataset_of(tmp_path, together, apart))

    for case in fingerprint.cases:
        assert [channel.mean for channel in case.intensity] == [1.25, 2.25]
    assert [channel.mean for channel in fingerprint.summary.intensity] == [1.25, 2.25]


def test_pictures_have_no_orientation(tmp_path):
    from PIL import Image

    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(tmp_path / "a.png")
    Image.fromarray(np.eye(4, 5, dtype=np.uint8) * 255).save(tmp_path / "a_mask.png")
    case = Case(name="a", images=("a.png",), label="a_mask.png")

    fingerprint = measure_dataset(dataset_of(tmp_path, case, file_format="picture"))

    facts, summary = fingerprint.cases[0], fingerprint.summary
    assert (facts.shape, facts.channels, facts.orientation) == ((4, 5, 1), 3, "")
    assert summary.labels[255].in_plane_px == {"none": (4.0, 4.0)}
    assert (summary.modality, summary.orientations) == ("RGB", {"": 1})


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (np.array([0, 0.5, 1, 1], np.float32), "1 of its 4 voxels are no whole numbers, the first 0.5"),
        (np.array([0, -1, -3, 1], np.int16), "2 of its 4 voxels are negative, down to -3"),
        (np.array([0, np.nan, 1, 1], np.float32), "1 of its 4 voxels are NaN or infinite"),
    ],
)
def test_labels_that_are_no_class_map(tmp_path, label, problem):
    case = add_case(tmp_path, "a", np.arange(4, dtype=np.int16).reshape(2, 2, 1), label.reshape(2, 2, 1))

    facts = measure_case(case, dataset_of(tmp_path, case)).facts

    assert facts.label_problem == problem
    assert (facts.error, facts.labels, facts.intensity) == (None, {}, ())


def test_whole_numbers_stored_as_floats_are_classes(tmp_path):
    label = np.array([0, 205, 420, 420], np.float64).reshape(2, 2, 1)
    case = add_case(tmp_path, "a", np.arange(4, dtype=np.int16).reshape(2, 2, 1), label)

    assert sorted(measure_case(case, dataset_of(tmp_path, case)).facts.labels) == [205, 420]


@pytest.mark.parametrize("damage", ["missing", "truncated", "nonsense"])
def test_damaged_files_are_recorded_not_raised(dataset, tmp_path, damage):
    file = tmp_path / "labels" / "case_2.nii.gz"
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"nonsense" * 100)

    fingerprint = measure_dataset(dataset)

    assert [case.error is None for case in fingerprint.cases] == [True, True, False, True]
    assert fingerprint.cases[2].error_file == "labels/case_2.nii.gz"
    assert fingerprint.summary.num_cases == 3


def test_label_on_another_grid_gives_no_intensity(tmp_path):
    case = add_case(tmp_path, "a", np.ones((3, 3, 3), np.int16), np.ones((3, 3, 3), np.uint8))
    write_volume(tmp_path / "labels" / "a.nii.gz", np.ones((3, 3, 2), np.uint8))

    fingerprint = measure_dataset(dataset_of(tmp_path, case))

    assert fingerprint.cases[0].label_shape == (3, 3, 2)
    assert fingerprint.cases[0].intensity == ()
    assert fingerprint.summary.num_cases == 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_crop_to_what_is_not_zero_in_some_channel(order):
    voxels = np.zeros((2, 7, 6, 5), np.float32, order=order)
    voxels[0, 2, 1, 4] = 1
    voxels[1, 5, 3, 2] = -1

    assert cropped_shape(voxels) == (4, 3, 3)
    assert cropped_shape(np.zeros_like(voxels)) == (7, 6, 5)


def test_orientation_codes_are_nibabels():
    random = np.random.default_rng(3)
    for _ in range(200):
        rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = rotation * random.uniform(0.3, 5, 3)
        assert orientation_of(affine) == "".join(nibabel.aff2axcodes(affine))
    assert orientation_of(np.diag([-1.0, -1.0, 2.0, 1.0])) == "LPS"


def test_planning_rounds_what_training_rounds():
    label = np.array([[[0, 0.9995, 2.0004]], [[-0.0004, 1, 2]]], np.float32)
    np.testing.assert_array_equal(as_classes(label), [[[0, 1, 2]], [[0, 1, 2]]])
    with pytest.raises(ValueError, match="1 of its 6 voxels are no whole numbers, the first 1.5"):
        as_classes(label + np.float32([[[0, 0.5005, 0]], [[0, 0, 0]]]))
