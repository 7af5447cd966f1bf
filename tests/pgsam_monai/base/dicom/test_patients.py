"""Whose series it is, by its headers."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import make_series

from pgsam_monai.base.dicom.patients import patient_id

VOXELS = np.zeros((4, 5, 2), np.int16)


def series(folder, told):
    def named(item, k):
        if told is None:
            del item.PatientID
        else:
            item.PatientID = told

    return make_series(folder, VOXELS, change=named)


@pytest.mark.parametrize("told", ["MRN-17", "0017", "000", "A", "anna", "X17"])
def test_the_patients_id(tmp_path, told):
    folder = series(tmp_path / "s", f" {told} ")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "0.txt").write_text("notes")
    assert patient_id(folder) == told == patient_id(folder / "1.dcm")


@pytest.mark.parametrize(
    "told", [None, "", "ANON", "Anonymous", "anonymized_3", "unknown", "N/A", "XXX", "-"]
)
def test_nobodys_id(tmp_path, told):
    assert patient_id(series(tmp_path / "s", told)) is None


def test_a_broken_file_is_passed_over(tmp_path):
    folder = series(tmp_path / "s", "P7")
    first = folder / "1.dcm"
    first.write_bytes(first.read_bytes()[:200])
    assert patient_id(folder) == "P7"
    assert patient_id(tmp_path) is None
