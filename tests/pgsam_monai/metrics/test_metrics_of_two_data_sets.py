"""Predictions with one data set's values, references with another's."""

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.metrics import evaluate_case, evaluate_files

PREDICTION = np.array([[1, 1, 2, 2, 2, 0]])[..., None]
REFERENCE = np.array([[7, 0, 4, 5, 5, 1]])[..., None]
LABELS, REFERENCE_LABELS = {"spleen": 1, "adrenal glands": 2}, {"adrenal glands": [4, 5], "spleen": 7}


def dice(**options):
    case = evaluate_case(PREDICTION, REFERENCE, spacing=(1.0, 1.0, 1.0), **options)
    return {row.label: (row.value, row.dice) for row in case.classes}


def test_each_side_has_its_values():
    found = dice(labels=LABELS, reference_labels=REFERENCE_LABELS)
    assert found == {"spleen": (1, pytest.approx(2 / 3)), "adrenal glands": (2, 1.0)}
    assert list(found) == ["spleen", "adrenal glands"]


def test_values_that_mean_something_else_there_are_background():
    found = dice(labels={"spleen": 1}, reference_labels={"spleen": 7})
    assert found["spleen"][1] == pytest.approx(2 / 3)  # the reference's 1 is no spleen


def test_values_shared_on_one_side_only():
    found = dice(labels=LABELS, reference_labels={"spleen": [7, 4], "adrenal glands": [4, 5]})
    assert found == {"spleen": (1, 0.5), "adrenal glands": (2, 1.0)}


def test_the_classes_must_agree():
    with pytest.raises(
        ValueError, match="must name the classes of labels .spleen, adrenal glands., got spleen"
    ):
        dice(labels=LABELS, reference_labels={"spleen": 7})


def test_files(tmp_path):
    for name, voxels in (("p", PREDICTION), ("r", REFERENCE)):
        nib.save(nib.Nifti1Image(voxels.astype(np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    pairs = [(tmp_path / "p.nii.gz", tmp_path / "r.nii.gz")]
    (case,) = evaluate_files(pairs, labels=LABELS, reference_labels=REFERENCE_LABELS)
    assert [row.dice for row in case.classes] == [pytest.approx(2 / 3), 1.0]
