"""Folders of colour and grey pictures as their challenges lay them out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from picture_builders import write_isic, write_refuge, write_ultrasound

from preprocess.checks import check_dataset
from preprocess.fingerprint.dataset import measure_dataset
from preprocess.layouts import Case, find_dataset

REFUGE_NAMES = {"optic cup": 0, "optic disc rim": 128, "background": 255}


def measured(folder):
    dataset = find_dataset(folder)
    return dataset, measure_dataset(dataset, workers=1, progress=False)


def test_refuge(tmp_path):
    dataset = find_dataset(write_refuge(tmp_path / "REFUGE2", cases=2, validation=2, test=2))
    assert (dataset.layout, dataset.file_format, dataset.name) == ("refuge", "picture", "refuge2")
    assert dataset.label_names == REFUGE_NAMES and dataset.background == 255
    masks = "Annotation-Training400/Disc_Cup_Masks"
    assert dataset.cases[1] == Case(
        name="n0002", images=("Training400/Non-Glaucoma/n0002.jpg",), label=f"{masks}/Non-Glaucoma/n0002.bmp"
    )
    folds = {case.name: (case.group, case.fold, case.label is not None) for case in dataset.cases}
    assert folds == {
        "V0001": ("train", 0, True), "V0002": ("train", 0, True), "g0001": ("train", None, True),
        "n0002": ("train", None, True), "T0001": ("test", None, True), "T0002": ("test", None, True),
    }  # fmt: skip
    assert "assumed from the layout" in " ".join(dataset.notes)


def test_refuge_with_names_of_its_own_and_test_pictures_without_masks(tmp_path):
    write_refuge(tmp_path, cases=2, test=1, test_masks=False)
    (tmp_path / "labels.json").write_text(json.dumps({"background": 255, "cup": 0, "disc": 128}))
    dataset = find_dataset(tmp_path)
    assert dataset.label_names == {"cup": 0, "disc": 128, "background": 255} and not dataset.notes
    assert [(case.name, case.label is None) for case in dataset.cases][-1] == ("T0001", True)


@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_isic(tmp_path, year):
    dataset = find_dataset(write_isic(tmp_path, year=year))
    assert (dataset.layout, dataset.file_format) == ("pictures", "picture")
    assert [case.name for case in dataset.cases] == [f"ISIC_{n:07d}" for n in range(4)]
    assert not dataset.images_without_label and not dataset.labels_without_image
    assert all("egmentation" in case.label and "superpixels" not in case.images[0] for case in dataset.cases)
    assert bool(dataset.notes) == (year == 2017)


@pytest.mark.parametrize(
    "places",
    [
        {},
        {"image": "image/{:d}.PNG", "mask": "mask/{:d}.PNG", "mode": "RGB"},
        {"image": "DDTI/p_image/{:d}.PNG", "mask": "DDTI/p_mask/{:d}.PNG"},
        {"image": "trainval-image/{:04d}.jpg", "mask": "trainval-mask/{:04d}.jpg"},
    ],
)
def test_ultrasound(tmp_path, places):
    dataset = find_dataset(write_ultrasound(tmp_path, **places))
    assert (dataset.layout, len(dataset.cases)) == ("pictures", 4)
    assert not dataset.images_without_label and not dataset.labels_without_image


def test_background_of_another_value_is_measured_as_such(tmp_path):
    dataset, fingerprint = measured(write_refuge(tmp_path))
    case, summary = fingerprint.cases[0], fingerprint.summary
    assert list(case.labels) == [0, 128] and list(summary.labels) == [0, 128]
    assert 0.7 < summary.background_frequency < 0.9
    cup, rim = (case.labels[value] for value in (0, 128))
    assert 0 < cup.voxels < rim.voxels and (cup.components, rim.components) == (1, 1)
    assert sum(channel.count for channel in case.intensity) == 3 * (cup.voxels + rim.voxels)
    gaps = next(fault for fault in check_dataset(dataset, fingerprint.cases) if "gaps" in fault.rule)
    assert "{255, 0, 128}" in gaps.found


def test_naming_the_background_measures_anew(tmp_path):
    """The cached facts of a run that took 0 for background are not used once labels.json names 255."""
    write_refuge(tmp_path / "data")
    (tmp_path / "data/labels.json").write_text(json.dumps({"background": 0, "disc": 128, "outside": 255}))
    options = {"workers": 1, "progress": False, "cache": tmp_path / "facts"}
    first = measure_dataset(find_dataset(tmp_path / "data"), **options)
    assert list(first.summary.labels) == [128, 255]
    (tmp_path / "data/labels.json").write_text(json.dumps({"background": 255, "cup": 0, "disc": 128}))
    assert list(measure_dataset(find_dataset(tmp_path / "data"), **options).summary.labels) == [0, 128]


def test_a_value_that_covers_most_pictures_may_be_the_background(tmp_path):
    write_refuge(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps({"background": 0, "disc": 128, "outside": 255}))
    faults = check_dataset(*measured_cases(tmp_path))
    doubt = next(fault for fault in faults if fault.rule == "background in doubt")
    assert "'outside' (value 255) covers" in doubt.found and "labels.json" in doubt.remedy
    (tmp_path / "labels.json").unlink()
    assert not any(fault.rule == "background in doubt" for fault in check_dataset(*measured_cases(tmp_path)))


def measured_cases(folder):
    dataset, fingerprint = measured(folder)
    return dataset, fingerprint.cases


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("LA", 1)])
def test_sizes_and_kinds_of_pictures(tmp_path, mode, channels):
    _, fingerprint = measured(write_ultrasound(tmp_path, mode=mode, cases=5))
    assert {case.channels for case in fingerprint.cases} == {channels}
    assert len({case.shape for case in fingerprint.cases}) == 5
    assert all(np.isfinite(case.image[0].mean) for case in fingerprint.cases)
