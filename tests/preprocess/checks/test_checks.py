"""How faults are gathered and told; whole data sets, bad on purpose or by nature."""

import pickle
from collections import Counter

import nibabel
import numpy as np
import pytest
from dataset_builders import OBLIQUE
from facts_builders import facts, faults_of, only
from shared_data import shared_data

from preprocess.checks import FATAL, WARNING, DatasetFaults, Fault, check_dataset, faulty_cases, format_faults
from preprocess.fingerprint.dataset import measure_dataset
from preprocess.layouts import Case, Dataset, find_dataset


def test_no_faults():
    assert faults_of() == ()
    assert format_faults(()) == "No faults found."


def test_missing_partners_are_fatal_and_named():
    faults = faults_of(
        images_without_label=("images/a.nii.gz",), labels_without_image=("labels/b.nrrd", "labels/c.nii.gz")
    )

    assert [(f.level, f.rule, f.case, f.file) for f in faults] == [
        (FATAL, "image without label", "a", "images/a.nii.gz"),
        (FATAL, "label without image", "b", "labels/b.nrrd"),
        (FATAL, "label without image", "c", "labels/c.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("count", "level", "found"),
    [
        (0, FATAL, "no usable training case"),
        (1, FATAL, "one usable training case"),
        (2, WARNING, "2 usable training cases"),
        (4, WARNING, "4 usable training cases"),
    ],
)
def test_too_few_cases(count, level, found):
    fault = next(f for f in faults_of(good=count) if f.rule == "too few cases")

    assert (fault.level, fault.case, fault.found) == (level, None, found)


def test_faulty_cases_do_not_count_towards_enough():
    faults = faults_of(facts(1, label_shape=(1, 1, 1)), good=1)

    assert {(f.rule, f.case) for f in faults} == {("shape mismatch", "case_1"), ("too few cases", None)}
    assert list(faulty_cases(faults)) == ["case_1"]


def test_listing_keeps_levels_apart_and_tells_each_fault_once():
    faults = faults_of(
        *(facts(n, label_shape=(n, 1, 1)) for n in range(30)),
        facts(50, labels={}, intensity=()),
        facts(51, orientation="LPS"),
    )

    text = format_faults(faults)

    assert text.splitlines()[0] == "30 fatal faults, 1 warning, 1 mended."
    assert text.index("FATAL") < text.index("WARNING:") < text.index("MENDED")
    assert text.count("shape mismatch") == 1 and "shape mismatch (30)" in text
    assert text.count("case_7, labels/case_7.nii.gz: image shape") == 1
    assert "... and 10 more" in text
    assert "... and" not in format_faults(faults, most=30)


def test_the_exception_holds_the_faults_and_travels():
    fault = Fault(
        level=FATAL, rule="r", case="a", file="f", found="found this", consequence="so", remedy="do that"
    )
    error = pickle.loads(pickle.dumps(DatasetFaults([fault])))

    assert error.faults == (fault,)
    assert "found this" in str(error)
    assert str(fault) == "Case 'a' (f): found this; so. Do that."


def test_bad_files_on_disk(tmp_path):
    def write(name, voxels, affine=OBLIQUE):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / name)

    random = np.random.default_rng(0)
    cases = []
    for n in range(8):
        image = random.normal(100, 10, (8, 7, 6)).astype(np.float32)
        label = np.zeros((8, 7, 6), np.float32)
        label[2:5, 2:5, 2:5] = 1
        if n == 1:
            image[0, 0, 0] = np.nan
        if n == 2:
            label[3, 3, 3] = 0.5
        if n == 3:
            label = label[..., :-1]
        write(f"i{n}.nii.gz", image)
        write(f"l{n}.nii.gz", label)
        cases.append(Case(name=f"c{n}", images=(f"i{n}.nii.gz",), label=f"l{n}.nii.gz"))
    (tmp_path / "i4.nii.gz").write_bytes((tmp_path / "i4.nii.gz").read_bytes()[:300])
    (tmp_path / "i6.nii.gz").write_bytes((tmp_path / "i5.nii.gz").read_bytes())
    dataset = Dataset(
        name="bad", folder=str(tmp_path), layout="paired", file_format="volume", cases=tuple(cases)
    )

    faults = check_dataset(dataset, measure_dataset(dataset).cases)

    assert [(fault.level, fault.rule, fault.case) for fault in faults] == [
        (FATAL, "NaN or infinite values", "c1"),
        (FATAL, "label is no class map", "c2"),
        (FATAL, "shape mismatch", "c3"),
        (FATAL, "unreadable file", "c4"),
        (WARNING, "too few cases", None),
        (WARNING, "duplicate images", None),
    ]


def test_real_unclean_data_lists_exactly_its_faults():
    dataset = find_dataset(shared_data("unclean_Hippocampus"))

    faults = check_dataset(dataset, measure_dataset(dataset).cases)

    assert Counter((fault.level, fault.rule, fault.case) for fault in faults) == {
        (FATAL, "image without label", "hippocampus_118"): 1,
        (FATAL, "label without image", "hippocampus_010"): 1,
        (FATAL, "label without image", "hippocampus_281"): 1,
        (WARNING, "too few cases", None): 1,
    }


def test_real_intensity_outliers_are_the_only_fault_of_hippocampus():
    dataset = find_dataset(shared_data("Task04_Hippocampus"))

    fault = only(check_dataset(dataset, measure_dataset(dataset).cases))

    assert (fault.level, fault.rule) == (WARNING, "intensity outliers")
    assert "41 cases less than 1/5" in fault.found and "24 cases over 5 times" in fault.found
