"""Post-processing chosen from mistakes: what gains is kept, and nothing vanishes."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.base.cleaning import Cleaning, read_cleanings
from pgsam_monai.evaluation.postprocessing import choose_cleanings, write_cleanings

LABELS = {"spleen": 1, "kidney": 2}


@pytest.fixture
def save(tmp_path):
    def save(name, *boxes):
        """A label map of (value, slices of the first axis) boxes of 4 x 4 voxels per slice."""
        voxels = np.zeros((24, 6, 6), np.uint8)
        for value, first, last in boxes:
            voxels[first:last, 1:5, 1:5] = value
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii.gz")
        return tmp_path / f"{name}.nii.gz"

    return save


def cleanings(choices):
    return {choice.name: choice.cleaning for choice in choices}


def test_the_largest_piece_is_not_kept_where_that_deletes_the_right_one(save):
    """The issue's spleen: found, beside a larger wrong one; in the other case the stray piece is small."""
    pairs = [
        (save("a", (1, 0, 4), (1, 8, 13)), save("a_true", (1, 0, 4))),
        (save("b", (1, 0, 8), (1, 20, 21)), save("b_true", (1, 0, 8))),
    ]
    (spleen, kidney) = choose_cleanings(pairs, labels=LABELS)
    assert spleen.cleaning == Cleaning(pieces=0.25) and spleen.cases == 2
    assert spleen.before == pytest.approx((8 / 13 + 16 / 17) / 2) and spleen.after == pytest.approx(
        (8 / 13 + 1) / 2
    )
    assert kidney.cleaning == Cleaning() and kidney.cases == 0 and np.isnan(kidney.before)


def test_holes_are_filled_where_that_gains_and_left_where_it_does_not(save, tmp_path):
    whole, hollow = save("whole", (1, 2, 9)), save("hollow", (1, 2, 9))
    voxels = np.asarray(nib.load(hollow).dataobj).copy()
    voxels[4:6, 2:4, 2:4] = 0
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), hollow)
    assert cleanings(choose_cleanings([(hollow, whole)], labels=LABELS))["spleen"] == Cleaning(fill=True)
    assert cleanings(choose_cleanings([(hollow, hollow)], labels=LABELS))["spleen"] == Cleaning()


def test_what_gains_too_little_or_is_unknown_is_left(save):
    stray = save("stray", (1, 0, 8), (1, 20, 21))
    true = save("true", (1, 0, 8))
    assert cleanings(choose_cleanings([(stray, true)], labels=LABELS))["spleen"] == Cleaning(pieces=0.25)
    unknown = choose_cleanings([(stray, true)], labels=LABELS, unknown=[{"spleen"}])
    assert cleanings(unknown)["spleen"] == Cleaning() and unknown[0].cases == 0


def test_what_is_written_says_what_each_structure_gains_and_is_read_back(save, tmp_path):
    pair = save("stray", (1, 0, 8), (1, 20, 21), (2, 12, 14)), save("true", (1, 0, 8), (2, 12, 14))
    choices = choose_cleanings([pair], labels=LABELS)
    file = tmp_path / "postprocessing.json"
    write_cleanings(choices, file, labels=[0, 1, 2], chosen_on="1 case")
    assert read_cleanings(file, [0, 1, 2]) == {1: Cleaning(pieces=0.25)}
    first, second = json.loads(file.read_text())["structures"]
    assert first["gain"] == pytest.approx(1 - 16 / 17) and first["name"] == "spleen" and second["gain"] == 0
    assert str(choices[0]) == "spleen: pieces of 25% of the largest, Dice 0.9412 -> 1.0000 (+0.0588, 1 cases)"
