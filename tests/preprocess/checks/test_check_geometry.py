"""Labels on, beside and far from their images, which are oblique."""

import numpy as np
import pytest
from dataset_builders import OBLIQUE
from facts_builders import facts, faults_of, only, rows

from preprocess.checks import FATAL, WARNING


def test_shape_mismatch():
    fault = only(faults_of(facts(1, label_shape=(64, 48, 19))))

    assert (fault.level, fault.rule, fault.case) == (FATAL, "shape mismatch", "case_1")
    assert fault.found == "image shape (64, 48, 20) and label shape (64, 48, 19) differ"
    assert "Resample" not in fault.remedy and "resample" in fault.remedy
    assert str(fault).startswith("Case 'case_1' (labels/case_1.nii.gz): image shape")


def moved(turn_rad=0.0, shift_mm=0.0, scale=1.0):
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    affine = OBLIQUE.copy()
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ OBLIQUE[:3, :3] * scale
    affine[:3, 3] += shift_mm
    spacing = tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return {"label_affine": rows(affine), "label_spacing": spacing}


@pytest.mark.parametrize("change", [{"turn_rad": 2e-8}, {"scale": 1 + 1e-5}, {"shift_mm": 0.01}, {}])
def test_rounding_of_headers_is_no_fault(change):
    assert faults_of(facts(1, **moved(**change))) == ()


@pytest.mark.parametrize(
    ("change", "level", "rule"),
    [
        ({"turn_rad": 0.003}, WARNING, "direction mismatch"),
        ({"turn_rad": 0.1}, FATAL, "direction mismatch"),
        ({"scale": 1.003}, WARNING, "spacing mismatch"),
        ({"scale": 1.5}, FATAL, "spacing mismatch"),
        ({"shift_mm": 0.2}, WARNING, "origin mismatch"),
        ({"shift_mm": 5.0}, FATAL, "origin mismatch"),
    ],
)
def test_label_beside_its_image(change, level, rule):
    fault = only(faults_of(facts(1, **moved(**change))))

    assert (fault.level, fault.rule, fault.case) == (level, rule, "case_1")
    assert "voxels off" in fault.found


def test_geometry_faults_tell_the_numbers():
    spacing = only(faults_of(facts(1, **moved(scale=2))))
    origin = only(faults_of(facts(1, **moved(shift_mm=10))))
    turned = only(faults_of(facts(1, **moved(turn_rad=np.pi / 2))))

    assert "image spacing (0.75, 1.5, 3) mm, label spacing (1.5, 3, 6) mm" in spacing.found
    assert "image origin (-31.5, 17.25, 108) mm, label origin (-21.5, 27.25, 118) mm" in origin.found
    assert "axes turned by (" in turned.found and "RAS" in turned.found


def test_a_label_without_header_is_fatal():
    fault = only(faults_of(facts(1, label_affine=rows(np.eye(4)), label_spacing=(1.0, 1.0, 1.0))))

    assert fault.level == FATAL
    assert "header" in fault.remedy
