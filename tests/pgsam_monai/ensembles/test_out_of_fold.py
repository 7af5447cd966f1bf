"""The choice: which ways there are, Dice by hand, partial labels, ties."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.ensembles.out_of_fold import (
    SURE,
    Candidate,
    Measures,
    _dice,
    _read,
    candidates,
    choose,
    subsets,
)

NAN = float("nan")


def candidate(dice, *networks):
    return Candidate(networks=networks, dice=dice, by_structure={})


def test_all_ways_to_put_three_networks_together():
    assert subsets(3) == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    assert len(subsets(4)) == 15


@pytest.mark.parametrize(
    ("dice", "chosen"),
    [
        ([0.80, 0.70, 0.81], (0, 1)),
        ([0.80, 0.70, 0.8009], (0,)),  # a gain that is not worth a network
        ([0.8005, 0.8, 0.8], (0,)),
        ([0.70, 0.80, 0.80], (1,)),
        ([NAN, 0.1, NAN], (1,)),
    ],
)
def test_the_best_mean_dice_is_chosen_or_fewer_networks_as_good(dice, chosen):
    found = [candidate(value, *way) for value, way in zip(dice, subsets(2), strict=True)]
    assert choose(found).networks == chosen


def test_nothing_can_be_chosen_by_no_dice():
    with pytest.raises(UserFault, match="no case has a label of any structure"):
        choose([candidate(NAN, 0)])


def write_results(folder, name, dice):
    """`dice`: for each way {structure: Dice}."""
    results = [
        {"networks": list(way), "by_structure": each} for way, each in zip(subsets(2), dice, strict=True)
    ]
    file = folder / f"candidates/{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"members": [[0], [0]], "candidates": results}))
    return file


def test_means_are_over_cases_then_over_structures(tmp_path):
    write_results(tmp_path, "a", [{"x": 0.2, "y": None}, {"x": 0, "y": 0}, {"x": 1, "y": 1}])
    write_results(tmp_path, "b", [{"x": 0.4, "y": 0.9}, {"x": 0, "y": None}, {"x": None, "y": 0}])
    first, second, both = candidates(tmp_path, ["a", "b"], 2)
    assert first.by_structure == pytest.approx({"x": 0.3, "y": 0.9}) and first.dice == pytest.approx(0.6)
    assert second.dice == 0 and both.networks == (0, 1) and both.dice == pytest.approx(0.75)


def test_damaged_results_are_told_with_the_remedy(tmp_path):
    write_results(tmp_path, "a", [{"x": 1}] * 3).write_text('{"candidates": [{}]}')
    with pytest.raises(DamagedFile, match="delete it, and that case is predicted again"):
        candidates(tmp_path, ["a"], 2)


def test_results_that_tell_of_no_sureness_are_damaged(tmp_path):
    with pytest.raises(DamagedFile, match="delete it, and that case is predicted again"):
        _read(write_results(tmp_path, "a", [{"x": 1}] * 3), SURE)


@pytest.mark.parametrize(
    ("case", "ignore", "expected"),
    [
        ({}, None, {"one": 2 / 5, "two and three": 4 / 5, "four": NAN}),
        ({"labelled": [1, 4]}, None, {"one": 2 / 5, "two and three": NAN, "four": NAN}),
        ({}, 9, {"one": 2 / 3, "two and three": 4 / 5, "four": NAN}),
    ],
)
def test_dice_of_structures_and_regions(tmp_path, case, ignore, expected):
    """Predicted 1 1 1 2 2 2 0, true 1 9 9 2 3 1 0: of class 1 one of three is right, and one of two is found."""
    files = [tmp_path / "found.nii.gz", tmp_path / "true.nii.gz"]
    for file, values in zip(files, ([1, 1, 1, 2, 2, 2, 0], [1, 9, 9, 2, 3, 1, 0]), strict=True):
        nib.save(nib.Nifti1Image(np.array(values, np.uint8).reshape(7, 1, 1), np.eye(4)), file)
    labels = {"one": 1, "two and three": [2, 3], "four": 4}
    measures = Measures(labels=labels, protocol="mm", tolerance_mm=2.0, ignore=ignore)
    found = _dice(files[0], {"name": "case", "label": str(files[1])} | case, measures)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value) or math.isnan(value) and math.isnan(found[name])
