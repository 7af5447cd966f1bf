"""Which files make which cases, what is no case, and what its prediction is called."""

import pytest
from dataset_builders import OBLIQUE, tiny_image, tiny_label, write_series, write_volume

from pgsam_monai.predicting.inputs import list_inputs, prediction_file, require_channels


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
    x, y = list_inputs(tmp_path, channels=2)
    require_channels(x, 2)
    with pytest.raises(ValueError, match="Case 'y'.*2 channels, got 1 file; give y_0000 … y_0001"):
        require_channels(y, 2)


def test_dicom_series_alone_and_in_folders(tmp_path):
    series = write_series(tmp_path / "study" / "one", tiny_image(1, tiny_label(1)), OBLIQUE)
    assert list_inputs(series) == [{"name": "one", "image": str(series)}]
    assert list_inputs(series.parent) == [{"name": "one", "image": str(series)}]
    (series / "0 README").write_text("notes that sort before the slices")
    assert list_inputs(series) == [{"name": "one", "image": str(series)}]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_inputs(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="neither images"):
        list_inputs(tmp_path)


def test_a_prediction_is_found_whatever_its_format(tmp_path):
    (tmp_path / "case_1.mha").write_text("")
    (tmp_path / "case_1.extra.mha").write_text("")
    assert prediction_file(tmp_path, "case_1").name == "case_1.mha"
    with pytest.raises(FileNotFoundError, match="case_2"):
        prediction_file(tmp_path, "case_2")


@pytest.mark.parametrize("name", ["._a.nii.gz", ".DS_Store", "Thumbs.db", ".a.nii.gz.7.partial", "._series/"])
def test_what_systems_leave_is_no_image(tmp_path, name):
    scan(tmp_path / "a.nii.gz")
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_bytes(b"Mac OS X")
    series = write_series(tmp_path / "one", tiny_image(1, tiny_label(1)), OBLIQUE)
    (series / "._0.dcm").write_bytes(b"Mac OS X")
    assert [case["name"] for case in list_inputs(tmp_path)] == ["a", "one"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.nii", "a.nii.gz"),
        ("a.nrrd", "a.png"),
        ("a.nii.gz", "a"),  # a series
        ("Case.nii.gz", "case.nii.gz"),
        ("\u00fc.nii.gz", "u\u0308.nii.gz"),
        ("x_0000.nii.gz", "x_0000.mha"),
    ],
)
def test_results_of_one_name_are_refused(tmp_path, one, other):
    for name in (one, other):
        if "." in name:
            (tmp_path / name).write_text("")
        else:
            write_series(tmp_path / name, tiny_image(1, tiny_label(1)), OBLIQUE)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this disk takes the two names for one")
    with pytest.raises(ValueError, match="would both be written as .*; rename one"):
        list_inputs(tmp_path)


@pytest.mark.parametrize(
    "name", ["[a]", "*", "a,b", "run##1", "a?", "-x", "{a}", "$a", "a b", "line\nbreak", "ü"]
)
def test_a_prediction_is_found_whatever_its_name(tmp_path, name):
    (tmp_path / f"{name}.nii.gz").write_text("")
    (tmp_path / f"{name}.html").write_text("")
    (tmp_path / f"._{name}.nii.gz").write_text("")
    (tmp_path / "a.nii.gz").write_text("")
    assert prediction_file(tmp_path, name) == tmp_path / f"{name}.nii.gz"
    with pytest.raises(FileNotFoundError, match="No prediction"):
        prediction_file(tmp_path / "nowhere", name)
