"""Folding and keeping what was measured: on tiny data sets, and on a few real cases."""

import dataclasses
import json
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from facts_builders import add_case, dataset_of, four_cases
from shared_data import shared_data

from pgsam_monai.base.errors import UserFault
from preprocess.fingerprint import dataset as fingerprint_module
from preprocess.fingerprint.cache import cache_path, read_case, source_of
from preprocess.fingerprint.dataset import (
    fingerprint_to_json,
    load_fingerprint,
    make_fingerprint,
    measure_cases,
    measure_dataset,
    write_fingerprint,
)
from preprocess.fingerprint.measure import measure_case
from preprocess.layouts import find_dataset


@pytest.fixture
def dataset(tmp_path):
    return four_cases(tmp_path)


def test_folding_counts_every_foreground_voxel_once(dataset):
    summary = measure_dataset(dataset).summary
    values = np.concatenate([10 * n + np.arange(2 * n + 2) for n in range(4)])

    assert (summary.num_cases, summary.channels) == (4, 1)
    assert summary.intensity[0].count == 20
    assert summary.intensity[0].mean == pytest.approx(values.mean())
    assert summary.intensity[0].percentile_99_5 == pytest.approx(np.percentile(values, 99.5))
    assert (summary.labels[1].cases, summary.labels[1].voxels) == (4, 20)
    assert summary.labels[1].frequency == pytest.approx(20 / 480)
    assert summary.background_frequency == pytest.approx(460 / 480)
    assert summary.orientations == {"RAS": 4}


def test_mixed_orientations_fold_along_the_bodys_axes(tmp_path):
    label = np.zeros((6, 5, 4), np.uint8)
    label[0:3, 0:2, 0] = 5
    image = label.astype(np.float32) + 0.5
    straight = add_case(tmp_path, "ras", image, label, np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = add_case(
        tmp_path, "sla", image.transpose(2, 0, 1), label.transpose(2, 0, 1), np.array(
            [[0, -1.0, 0, 0], [0, 0, 2.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]]
        )
    )  # fmt: skip

    summary = measure_dataset(dataset_of(tmp_path, straight, turned)).summary

    assert summary.orientations == {"RAS": 1, "SLA": 1}
    assert summary.shape.min == summary.shape.max == (6, 5, 4)
    assert summary.spacing.min == summary.spacing.max == (1.0, 2.0, 3.0)
    assert summary.labels[5].extent_mm == summary.labels[5].extent_mm_min == (3.0, 4.0, 3.0)
    assert summary.labels[5].in_plane_px["axial"] == (2.0, 2.0)
    assert summary.labels[5].slices == {"sagittal": 0.5, "coronal": 0.4, "axial": 0.25}


def test_test_cases_are_measured_but_not_folded(dataset):
    cases = (*dataset.cases[:3], dataclasses.replace(dataset.cases[3], group="test", label=None))

    fingerprint = measure_dataset(dataclasses.replace(dataset, cases=cases))

    assert [case.group for case in fingerprint.cases] == ["train"] * 3 + ["test"]
    assert fingerprint.cases[3].intensity == () and fingerprint.cases[3].image
    assert fingerprint.summary.num_cases == 3


def test_json_round_trip(dataset, tmp_path):
    fingerprint = measure_dataset(dataset)

    write_fingerprint(fingerprint, tmp_path / "fingerprint.json")

    assert load_fingerprint(tmp_path / "fingerprint.json") == fingerprint
    assert json.loads(fingerprint_to_json(fingerprint))["summary"]["num_cases"] == 4
    assert fingerprint_to_json(measure_dataset(dataset)) == fingerprint_to_json(fingerprint)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"schema_version": 4', '"schema_version": 99', "schema version 99.*run pgsam-plan"),
        ('"num_cases": 4', '"num_cases": 5', r"checksum differs\); delete it, and run pgsam-plan"),
        ('"cases": [', '"cases": [[', "no valid JSON"),
        ('"checksum"', '"check"', "checksum differs"),
    ],
)
def test_what_was_not_measured_is_refused(dataset, tmp_path, old, new, said):
    text = fingerprint_to_json(measure_dataset(dataset))
    assert old in text
    (tmp_path / "fingerprint.json").write_text(text.replace(old, new))

    with pytest.raises(UserFault, match=said):
        load_fingerprint(tmp_path / "fingerprint.json")


@pytest.fixture
def measured_names(monkeypatch):
    """Names of the cases that were really measured, in order."""
    names = []

    def measure(case, dataset):
        names.append(case.name)
        return measure_case(case, dataset)

    monkeypatch.setattr(fingerprint_module, "measure_case", measure)
    return names


def test_unchanged_cases_are_not_measured_again(dataset, tmp_path, measured_names):
    first = measure_dataset(dataset, cache=tmp_path / "facts")
    image = tmp_path / "images" / "case_2.nii.gz"
    os.utime(image, ns=(1, 1))
    measured_names.clear()

    second = measure_dataset(dataset, cache=tmp_path / "facts")

    assert measured_names == ["case_2"]
    assert second == first


def test_an_interrupted_run_goes_on_where_it_was(dataset, tmp_path, monkeypatch, measured_names):
    counting = fingerprint_module.measure_case

    def interrupted(case, dataset):
        if case.name == "case_2":
            raise KeyboardInterrupt
        return counting(case, dataset)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fingerprint_module, "measure_case", interrupted)
        measure_dataset(dataset, cache=tmp_path / "facts")
    resumed = measure_dataset(dataset, cache=tmp_path / "facts")

    assert measured_names == ["case_0", "case_1", "case_2", "case_3"]
    assert resumed == measure_dataset(dataset)


@pytest.mark.parametrize("keep", [10, -1, -30])
def test_a_partial_cache_file_is_not_trusted(dataset, tmp_path, keep, measured_names):
    whole = measure_dataset(dataset, cache=tmp_path / "facts")
    file = cache_path(dataset.cases[1], tmp_path / "facts")
    file.write_bytes(file.read_bytes()[:keep])
    measured_names.clear()

    assert measure_dataset(dataset, cache=tmp_path / "facts") == whole
    assert measured_names == ["case_1"]


@pytest.mark.parametrize("place", [0, 40, 200, -5])
def test_a_cache_file_of_other_bytes_is_not_trusted(dataset, tmp_path, place, measured_names):
    whole = measure_dataset(dataset, cache=tmp_path / "facts")
    file = cache_path(dataset.cases[1], tmp_path / "facts")
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    measured_names.clear()

    assert measure_dataset(dataset, cache=tmp_path / "facts") == whole
    assert measured_names == ["case_1"]


def test_failures_are_tried_again(dataset, tmp_path, measured_names):
    file = tmp_path / "images" / "case_0.nii.gz"
    file.write_bytes(file.read_bytes()[:50])
    measure_dataset(dataset, cache=tmp_path / "facts")
    measured_names.clear()

    measure_dataset(dataset, cache=tmp_path / "facts")

    assert measured_names == ["case_0"]


def test_case_names_that_are_no_file_names(dataset, tmp_path):
    odd = dataclasses.replace(dataset.cases[0], name="../a b/ü")
    source = source_of(odd, dataset)

    assert cache_path(odd, tmp_path).parent == tmp_path
    (entry,) = measure_cases(dataclasses.replace(dataset, cases=(odd,)), tmp_path / "facts")
    assert read_case(cache_path(odd, tmp_path / "facts"), source).facts == entry.facts


def test_cases_can_be_left_out_of_the_fold(dataset, tmp_path):
    measured = measure_cases(dataset, tmp_path / "facts")

    summary = make_fingerprint(dataset, measured, without={"case_3"}).summary

    assert (summary.num_cases, summary.intensity[0].count) == (3, 12)


def test_modality(dataset):
    def guess(**changes):
        return measure_dataset(dataclasses.replace(dataset, **changes)).summary.modality

    assert guess() == "unknown"
    assert guess(channel_names=("CT",)) == "CT"
    assert guess(channel_names=("FLAIR", "T1w")) == "MR"
    assert guess(channel_names=("MRI",)) == "MR"


def test_hounsfield_units_are_recognised(tmp_path):
    image = np.linspace(-1000, 1500, 64).astype(np.int16).reshape(4, 4, 4)
    cases = [add_case(tmp_path, f"c{n}", image + n, (image > 0).astype(np.uint8)) for n in range(2)]

    summary = measure_dataset(dataset_of(tmp_path, *cases)).summary

    assert summary.modality == "CT"
    assert "Hounsfield" in summary.modality_reason


def test_neither_torch_nor_slow_imports():
    heavy = "torch monai scipy SimpleITK matplotlib nibabel rich"
    code = (
        "import sys, preprocess.fingerprint.dataset, preprocess.checks; "
        f"sys.exit(' '.join(set(sys.modules) & set('{heavy}'.split())) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_cases_equal_nibabel_and_numpy():
    dataset = find_dataset(shared_data("Task04_Hippocampus"))
    dataset = dataclasses.replace(dataset, cases=dataset.cases[:12])
    pooled, shapes = [], []
    for case in dataset.cases:
        image, label = (nibabel.load(f"{dataset.folder}/{name}") for name in (*case.images, case.label))
        voxels = np.asarray(image.dataobj, dtype=np.float64)
        pooled.append(voxels[np.asarray(label.dataobj) > 0])
        spans = [np.ptp(axis) + 1 for axis in np.nonzero(voxels)]
        shapes.append(tuple(int(span) for span in spans))
    pooled = np.concatenate(pooled)

    fingerprint = measure_dataset(dataset)
    intensity = fingerprint.summary.intensity[0]

    assert [case.cropped_shape for case in fingerprint.cases] == shapes
    assert fingerprint.summary.spacing.median == (1.0, 1.0, 1.0)
    assert intensity.count == len(pooled)
    found = (
        intensity.mean,
        intensity.std,
        intensity.percentile_00_5,
        intensity.median,
        intensity.percentile_99_5,
    )
    wanted = (pooled.mean(), pooled.std(), *np.percentile(pooled, (0.5, 50, 99.5)))
    assert found == pytest.approx(wanted, rel=1e-6)
    assert fingerprint.summary.modality == "MR"
