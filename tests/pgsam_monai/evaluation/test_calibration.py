"""Maps from confidence to Dice: by hand, each subject left out, of few cases, and where there is nothing to tell."""

import json

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.base.cleaning import Cleaning
from pgsam_monai.evaluation.calibration import (
    calibrate,
    choose_map,
    dice_of_found,
    fit_constant,
    fit_isotonic,
    fit_line,
    left_out_errors,
    rank_correlation,
    write_calibration,
)
from pgsam_monai.predicting.confidence import read_confidence


def array(*values):
    return np.array(values, dtype=float)


def test_maps_by_hand():
    x = array(0.2, 0.4, 0.6)
    assert fit_constant(x, array(0.1, 0.9, 0.5)) == ((0.2, 0.5), (0.6, 0.5))
    assert np.allclose(fit_line(x, array(0.3, 0.5, 0.7)), [(0.2, 0.3), (0.6, 0.7)])
    assert np.allclose(fit_line(x, array(0.7, 0.5, 0.3)), [(0.2, 0.5), (0.6, 0.5)])  # it doesn't fall
    steep = fit_line(array(0.0, 0.5, 1.0), array(0.5, 1.0, 1.0))  # 7/12 + x/2, which is 1 at 5/6
    assert np.allclose(steep, [(0, 7 / 12), (5 / 6, 1), (1, 1)])
    steps = fit_isotonic(array(0.1, 0.2, 0.3, 0.4, 0.4), array(0.2, 0.6, 0.4, 0.8, 1.0))
    assert np.allclose(steps, [(0.1, 0.2), (0.2, 0.5), (0.3, 0.5), (0.4, 0.9)])
    assert fit_line(array(0.5, 0.5), array(0.2, 0.4)) == ((0.5, pytest.approx(0.3)),)


def test_each_subject_is_left_out_by_hand():
    """Of a with two cases, b and c: medians of the others' are 0.6, 0.6 (for a: of 0.4 and 0.8), 0.5 and 0.5."""
    x, y = array(0.5, 0.6, 0.7, 0.8), array(0.5, 0.6, 0.4, 0.8)
    errors = left_out_errors(fit_constant, x, y, np.array(["a", "a", "b", "c"]))
    assert errors == pytest.approx([0.1, 0.0, 0.2, 0.3])
    line = left_out_errors(fit_line, array(0.1, 0.2, 0.3), array(0.1, 0.2, 0.6), np.array(["a", "b", "c"]))
    assert line == pytest.approx([0.1, 0.15, 0.4])  # by what lies nearest, not beyond the others' range


def test_a_line_where_sureness_tells_and_the_usual_dice_where_it_does_not():
    x, names = np.linspace(0.5, 0.9, 12), np.arange(12).astype(str)
    kind, errors, usual = choose_map(x, x - 0.1, names)
    assert kind == "line" and errors[1:-1] == pytest.approx(0) and usual.mean() > 0.1
    noise = np.tile([0.6, 0.8, 0.7], 4)
    assert choose_map(x, noise, names)[0] == "constant"
    assert choose_map(x, 1 - x, names)[0] == "constant"


def test_isotonic_with_many_subjects():
    x, names = np.linspace(0, 1, 60), np.arange(60).astype(str)
    assert choose_map(x, (x > 0.5) * 0.9, names)[0] == "isotonic"
    assert choose_map(x[::2], (x[::2] > 0.5) * 0.9, names[::2])[0] == "line"


def test_rank_correlation():
    assert rank_correlation(array(1, 2, 3), array(1, 4, 9)) == pytest.approx(1)
    assert rank_correlation(array(1, 2, 3, 4), array(2, 1, 4, 3)) == pytest.approx(0.6)
    assert np.isnan(rank_correlation(array(1, 2, 3), array(5, 5, 5)))
    assert np.isnan(rank_correlation(array(1, 2), array(1, 2)))


def test_structures_and_what_is_too_little_to_tell(tmp_path):
    x = np.linspace(0.5, 0.95, 10)
    sure = np.stack([x, x, x], axis=1)
    dice = np.stack([x - 0.1, x, np.full(10, 0.8)], axis=1)
    sure[0, 1] = np.nan  # not found in one of ten subjects
    labels = {"liver": 1, "spleen": [2, 3], "aorta": 4}
    liver, spleen, aorta = calibrate(sure, dice, labels=labels, subjects=[str(n) for n in range(10)])
    assert liver.calibration.map == "line" and liver.rank_correlation == pytest.approx(1)
    assert liver.error_90 == pytest.approx(0.05) and liver.usual_error > liver.calibration.error
    assert spleen.calibration is None and spleen.value == 2
    assert str(spleen) == "spleen: nothing, found in 9 subjects only, at least 10 are needed"
    assert aorta.calibration.map == "constant" and aorta.rank_correlation is None
    assert aorta.calibration.error == 0 and "the usual Dice, sureness tells nothing" in str(aorta)
    file = write_calibration(
        [liver, spleen, aorta], tmp_path / "c.json", labels=[0, 1, [2, 3], 4], calibrated_on="10 cases"
    )
    read = read_confidence(file, [0, 1, [2, 3], 4])
    assert read.of["liver"].points == liver.calibration.points and list(read.of) == ["liver", "aorta"]
    assert read.of["liver"].error == pytest.approx(liver.calibration.error, rel=1e-3)
    assert read.untold == {"spleen": spleen.why}
    entries = json.loads(file.read_text())["structures"]
    assert entries[0]["cases"] == 10 and entries[0]["rank_correlation"] == 1 and entries[1]["subjects"] == 9


def test_cases_of_few_subjects_are_too_few():
    x = np.linspace(0.5, 0.95, 20)[:, None]
    (one,) = calibrate(x, x, labels={"liver": 1}, subjects=[str(n // 4) for n in range(20)])
    assert one.calibration is None and (one.cases, one.subjects) == (20, 5)


def test_true_dice_is_that_of_the_cleaned_prediction_and_of_what_is_found(tmp_path):
    def save(name, *boxes):
        voxels = np.zeros((12, 3, 2), np.uint8)
        for value, first, last in boxes:
            voxels[first:last] = value
        nib.save(nib.Nifti1Image(voxels, np.diag([1, 2, 5, 1])), tmp_path / name)
        return tmp_path / name

    pair = save("p.nii.gz", (1, 0, 4), (1, 11, 12)), save("t.nii.gz", (1, 0, 2), (5, 2, 4), (2, 6, 8))
    labels = {"liver": [1, 5], "spleen": 2}
    stray = dice_of_found(pair, labels=labels, background=0, cleanings={})
    assert stray[0] == pytest.approx(8 / 9) and np.isnan(stray[1])  # what isn't found has no expectation
    clean = dice_of_found(pair, labels=labels, background=0, cleanings={1: Cleaning(pieces=1.0)})
    assert clean[0] == 1
    spurious = dice_of_found(pair[::-1], labels={"spleen": 2}, background=0, cleanings={})
    assert spurious == [0]
