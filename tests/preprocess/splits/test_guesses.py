"""What names and folders say: no more than they do."""

from __future__ import annotations

import pytest

from preprocess.layouts import Case
from preprocess.splits.guesses import by_folders, by_names


@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        (("patient001_frame01", "patient001_frame12"), "patient001"),
        (("case_12_t0", "case_12_t1"), "case_12"),
        (("003_L", "003_R"), "003"),
        (("003L", "003R"), "003"),
        (("left_7", "right_7"), "7"),
        (("p1-left", "p1-right"), "p1"),
        (("p1_ed", "p1_ES"), "p1"),
        (("p1_pre", "p1_post", "p1_post2"), "p1"),
        (("p1_baseline", "p1_followup1", "p1_follow-up_2", "p1_fu3"), "p1"),
        (("p1.visit 1", "p1.visit 2"), "p1"),
        (("p1_day_3", "p1_week_4"), "p1"),
        (("p1_arterial", "p1_portal_venous", "p1_delayed_phase"), "p1"),
        (("p1_ses-01_run-1", "p1_ses-02_run-1"), "p1"),
        (("fdg_a1b2_2004-12-30", "fdg_a1b2_2005-01-02"), "fdg_a1b2"),
        (("p1", "p1_t1"), "p1"),
        (("p1_2CH_ED", "p1_4CH_ES"), "p1"),
        (("video3_frame0001", "video3_frame0300"), "video3"),
    ],
)
def test_names_of_one_subject(names, subjects):
    others = ("p9_t0", "p9_t1", "q8")
    found = by_names((*names, *others))
    assert found["p9_t0"] == found["p9_t1"] == "p9" and found["q8"] == "q8"
    assert {found[name] for name in names} == {subjects}


@pytest.mark.parametrize(
    "pattern",
    [
        "hippocampus_{:03d}", "case_{:05d}", "img{:04d}", "lung_{:03d}", "Case{:02d}", "volume-{}", "s{:04d}",
        "BraTS20_Training_{:03d}", "ct_train_{}", "ISIC_{:07d}", "photo_{}", "scan{}", "liver_scan_{}", "t{}", "{}",
        "sub-{:02d}", "BRATS_{:03d}", "scan_t{}_x", "site1_scan{}",
    ],
)  # fmt: skip
def test_numbered_cases_are_no_subject(pattern):
    assert by_names([pattern.format(n) for n in range(1, 31)]) is None


def test_names_without_system_and_sites():
    letters = ["06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX", "1GU15CLVSE8NGPOL7BNR"]
    assert by_names(letters) is None
    assert by_names([f"{site}_scan{n}" for site in ("north", "south") for n in range(9)]) is None
    assert by_names([f"center{c}_img{n}" for c in range(3) for n in range(9)]) is None
    assert by_names([f"{name}_{when}" for name in ("anna", "otto") for when in ("pre", "post")])


def test_what_may_be_a_cases_number_is_kept_where_all_would_be_one():
    found = by_names([f"liver_scan_{number:03d}_t{time}" for number in range(9) for time in (0, 1)])
    assert set(found.values()) == {f"liver_scan_{number:03d}" for number in range(9)}


def cases(*paths):
    return [Case(name=str(number), images=(path,), label="l") for number, path in enumerate(paths)]


def folders(*paths):
    found = by_folders(cases(*paths), [str(number) for number in range(len(paths))])
    return list(found.values()) if found else None


def test_the_highest_folder_that_is_a_persons():
    assert folders("P1/a.nii", "P1/b.nii", "P2/a.nii") == ["P1", "P1", "2"]
    below = folders("images/P1/t0/a.nii", "images/P1/t1/a.nii", "images/P2/a.nii", "images/P2/b.nii")
    assert below == ["images/P1"] * 2 + ["images/P2"] * 2
    assert folders("siteA/P1/a.nii", "siteA/P1/b.nii", "siteB/P2/a.nii")[:2] == ["siteA/P1"] * 2
    many = [f"P{p}/frame{n}.png" for p in (1, 2, 3) for n in range(40)]
    assert len(set(folders(*many))) == 3


@pytest.mark.parametrize(
    "above",
    [
        ("images",), ("train", "val"), ("Training Batch 1", "Training Batch 2"), ("TrainingData", "TestData"),
        ("Glaucoma", "Normal"), ("2019", "2020"), ("site1", "site2", "site3"), ("imagesTr", "imagesTs"), ("",),
        ("fold0", "fold1"), ("Training400", "Validation400"),
    ],
)  # fmt: skip
def test_parts_classes_sites_and_years_are_no_people(above):
    assert folders(*(f"{folder}/{n}.nii.gz".strip("/") for folder in above for n in range(5))) is None


def test_a_folder_per_case_groups_nothing():
    assert folders(*(f"case_{n:05d}/imaging.nii.gz" for n in range(9))) is None
