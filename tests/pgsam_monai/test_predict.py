import pytest
from dataset_builders import OBLIQUE, tiny_image, tiny_label, write_series, write_volume

from pgsam_monai.predict import bundle_folder, list_inputs, prediction_file


def scan(path):
    return write_volume(path, tiny_image(1, tiny_label(1)))


def test_a_file_and_a_folder_in_order(tmp_path):
    for name in ("b.nii.gz", "a.nrrd", "notes.txt"):
        (tmp_path / name).write_text("") if name.endswith("txt") else scan(tmp_path / name)
    assert [case["name"] for case in list_inputs(tmp_path)] == ["a", "b"]
    assert list_inputs(tmp_path / "b.nii.gz") == [{"name": "b", "image": str(tmp_path / "b.nii.gz")}]


def test_channels_are_grouped_by_their_endings(tmp_path):
    for name in ("x_0000", "x_0001", "y_0000", "y_0001"):
        scan(tmp_path / f"{name}.nii.gz")
    cases = list_inputs(tmp_path, channels=2)
    assert [case["name"] for case in cases] == ["x", "y"]
    assert cases[0]["image"] == [str(tmp_path / "x_0000.nii.gz"), str(tmp_path / "x_0001.nii.gz")]


def test_a_missing_channel_is_named(tmp_path):
    for name in ("x_0000", "x_0001", "y_0000"):
        scan(tmp_path / f"{name}.nii.gz")
    with pytest.raises(ValueError, match="Case 'y'.*2 channels, got 1"):
        list_inputs(tmp_path, channels=2)


def test_dicom_series_alone_and_in_folders(tmp_path):
    series = write_series(tmp_path / "study" / "one", tiny_image(1, tiny_label(1)), OBLIQUE)
    assert list_inputs(series) == [{"name": "one", "image": str(series)}]
    assert list_inputs(series.parent) == [{"name": "one", "image": str(series)}]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_inputs(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="neither images"):
        list_inputs(tmp_path)


def test_no_bundle_and_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no bundle"):
        bundle_folder(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/inference.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="train it first"):
        bundle_folder(tmp_path)


def test_a_prediction_is_found_whatever_its_format(tmp_path):
    (tmp_path / "case_1.mha").write_text("")
    (tmp_path / "case_1.extra.mha").write_text("")
    assert prediction_file(tmp_path, "case_1").name == "case_1.mha"
    with pytest.raises(FileNotFoundError, match="case_2"):
        prediction_file(tmp_path, "case_2")
