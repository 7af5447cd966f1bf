"""When nothing fits, the error says what was looked for and what came nearest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dataset_builders import (
    write_dicom,
    write_la,
    write_la_h5,
    write_msd,
    write_paired,
    write_pictures,
    write_promise12,
    write_series,
)

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import LAYOUTS, find_dataset
from preprocess.layouts.naming import short_name, strip_words, unique_names
from preprocess.layouts.tree import natural_sorted


def error_of(folder, **options):
    with pytest.raises(UserFault) as caught:
        find_dataset(folder, **options)
    return str(caught.value)


def test_images_without_labels_folder(tmp_path):
    write_paired(tmp_path, label="trash/{:d}.nii.gz")
    for file in (tmp_path / "trash").iterdir():
        file.unlink()
    text = error_of(tmp_path)
    assert "Nearest: paired: found images/ with 3 files but no labels/" in text
    assert all(f"  {name}" in text for name in LAYOUTS)
    assert "3 x .nii.gz in images/" in text


def test_labels_without_images_folder(tmp_path):
    write_paired(tmp_path, image="labels/x{:d}.nii.gz")
    assert "but no images/" in error_of(tmp_path)


def test_names_that_do_not_agree(tmp_path):
    write_pictures(tmp_path, image="images/left_{:d}.png", label="masks/right_{:d}.png")
    text = error_of(tmp_path)
    assert "Nearest: pictures: 3 images and 3 labels, but no names agree" in text
    assert "images/left_1.png and masks/right_1.png" in text


def test_two_labels_for_one_image(tmp_path):
    write_pictures(tmp_path)
    write_pictures(tmp_path, label="masks/photo_{:d}.tif")
    assert "claim the same case" in error_of(tmp_path)


def test_two_labels_for_one_dicom_series(tmp_path):
    write_dicom(tmp_path, series="s{:d}", label="s{:d}/a_seg.nii.gz")
    write_dicom(tmp_path, series="s{:d}", label="s{:d}/b_seg.nii.gz")
    assert "several labels for one DICOM series" in error_of(tmp_path)


def test_la_without_labels(tmp_path):
    write_la(tmp_path)
    for file in [*tmp_path.rglob("laendo.nrrd"), *tmp_path.rglob("lawall.nrrd")]:
        file.unlink()
    text = error_of(tmp_path)
    assert "Nearest: la: Training Set/0RZD/lgemri.nrrd but no laendo.nrrd beside it" in text
    assert "nor in another of the 3 cases" in text


def test_la_list_that_names_other_cases(tmp_path):
    write_la_h5(tmp_path / "data")
    (tmp_path / "data/train.list").write_text("somebody else\n")
    assert "train.list names none of the 4 folders with mri_norm2.h5" in error_of(tmp_path / "data")


def test_promise12_without_segmentations_and_with_a_case_twice(tmp_path):
    write_promise12(tmp_path / "bare")
    for file in tmp_path.rglob("*_segmentation.*"):
        file.unlink()
    text = error_of(tmp_path / "bare")
    assert "Nearest: promise12: 3 files such as Case00.mhd, but none with its Case00_segmentation.mhd" in text
    write_promise12(tmp_path / "twice", parts=True)
    write_promise12(tmp_path / "twice/copy", cases=[0])
    text = error_of(tmp_path / "twice", layout="promise12")
    assert "copy/Case00.mhd and TrainingData_Part1/Case00.mhd claim the same case" in text


def test_folder_of_several_data_sets(tmp_path):
    write_msd(tmp_path / "Task01_A")
    write_msd(tmp_path / "Task02_B")
    assert "several data sets: Task01_A, Task02_B; pass one" in error_of(tmp_path)
    assert find_dataset(tmp_path / "Task02_B").name == "b"


def test_data_set_beside_other_images(tmp_path):
    write_msd(tmp_path / "Task01_A")
    assert find_dataset(tmp_path).cases[0].images == ("Task01_A/imagesTr/organ_001.nii.gz",)
    write_paired(tmp_path / "other")
    assert "also other images" in error_of(tmp_path)


def test_datalist_whose_files_do_not_exist(tmp_path):
    entries = [{"image": f"a{n}.nii.gz", "label": f"b{n}.nii.gz"} for n in range(3)]
    (tmp_path / "list.json").write_text(json.dumps({"training": entries}))
    assert "list.json lists 3 cases but none of their files exist (for example a0.nii.gz)" in error_of(
        tmp_path
    )


def test_several_datalists(tmp_path):
    write_paired(tmp_path)
    entry = {"image": "images/case_1.nii.gz", "label": "labels/case_1.nii.gz"}
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({"training": [entry]}))
    assert "several datalists: a.json, b.json" in error_of(tmp_path, layout="datalist")
    assert len(find_dataset(tmp_path / "b.json").cases) == 1


def test_malformed_datalist_entry(tmp_path):
    (tmp_path / "list.json").write_text('{"training": [{"img": "a.nii.gz"}]}')
    assert 'entry 0 names no "image"' in error_of(tmp_path)


def test_broken_json(tmp_path):
    write_paired(tmp_path, image="imagesTr/{:d}.nii.gz", label="labelsTr/{:d}.nii.gz")
    (tmp_path / "dataset.json").write_text("{")
    assert "dataset.json is no readable JSON" in error_of(tmp_path)


def test_mixed_formats(tmp_path):
    write_paired(tmp_path, cases=1)
    write_pictures(tmp_path, cases=1)
    entries = [
        {"image": "images/case_1.nii.gz", "label": "labels/case_1.nii.gz"},
        {"image": "images/photo_1.png", "label": "masks/photo_1.png"},
    ]
    (tmp_path / "list.json").write_text(json.dumps({"training": entries}))
    assert "mixes picture and volume files" in error_of(tmp_path)


def test_folders_that_cannot_hold_a_data_set(tmp_path):
    (tmp_path / "hippo").mkdir()
    assert "holds no files" in error_of(tmp_path / "hippo")
    assert f"Did you mean {tmp_path / 'hippo'}?" in error_of(tmp_path / "hipo")
    (tmp_path / "file.txt").write_text("x")
    assert "is a file" in error_of(tmp_path / "file.txt")


def test_forced_layout_that_does_not_fit_or_exist(tmp_path):
    write_series(tmp_path / "s", np.zeros((4, 4, 2), "int16"))
    assert "does not fit layout 'msd': no imagesTr/" in error_of(tmp_path, layout="msd")
    assert "Did you mean 'nnunet'?" in error_of(tmp_path, layout="nnUnet2")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Task04_Hippocampus", "hippocampus"),
        ("Dataset004_Foo", "foo"),
        ("unclean_Hippocampus", "unclean_hippocampus"),
        ("My Data (v2)", "my_data_v2"),
        ("Task04_", "dataset"),
    ],
)
def test_short_name(folder, name):
    assert short_name(folder) == name


def test_names_in_parts():
    assert natural_sorted(["img10", "img2", "Img1"]) == ["Img1", "img2", "img10"]
    assert strip_words("a_seg_mask", ["seg", "mask"]) == "a"
    assert strip_words("segment_1", ["seg"]) == "segment_1"
    assert unique_names(["x/a", "y/a", "b"]) == ["x_a", "y_a", "b"]
    assert unique_names(["a", "a"]) == ["a", "a_2"]
