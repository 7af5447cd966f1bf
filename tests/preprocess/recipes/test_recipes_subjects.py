"""Recipes and subjects: what is published stays, what is drawn keeps them together."""

from __future__ import annotations

import pytest
from facts_builders import dataset_of

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Case
from preprocess.recipes import load_recipe, splits_by_recipe
from preprocess.splits.leaks import find_leaks
from preprocess.splits.subjects import find_subjects


def cases_of(names, per_subject):
    return [
        Case(name=name, images=(f"{name}.nii.gz",), label="l", subject=f"s{place // per_subject}")
        for place, name in enumerate(names)
    ]


def split(recipe, cases, few_shot=None):
    subjects = find_subjects(dataset_of("/data", *cases), training=[case.name for case in cases])["dataset"]
    return splits_by_recipe(recipe, cases, seed=1, few_shot=few_shot, subjects=subjects)


def test_a_published_split_is_kept_and_told():
    recipe = load_recipe("samed_synapse")
    cases = cases_of([f"img{n:04d}" for n in range(1, 41)], per_subject=2)
    splits = split(recipe, cases)
    alone = splits_by_recipe(recipe, cases, seed=1, few_shot=None)
    assert splits.folds == alone.folds and splits.test == alone.test and alone.subjects is None
    validated, tested = find_leaks(splits)
    assert validated.found.startswith("training and validation of fold 0: ")
    assert tested.found.startswith("training and test: ") and "(img0007 and img0008)" in tested.found
    few = split(recipe, cases, few_shot="3")
    trained = {splits.cases[name]["subject"] for name in few.folds[0].training}
    assert len(trained) == 3 and few.few_shot["level"] == "subject"


def test_what_is_drawn_keeps_subjects_together():
    recipe = load_recipe("refsam3d_mmwhs")  # 14, 2 and 4
    cases = cases_of([f"c{n:03d}" for n in range(24)], per_subject=3)
    splits = split(recipe, cases)
    assert [len(part) for part in (splits.folds[0].training, splits.folds[0].validation)] == [15, 3]
    assert len(splits.test) == 6 and not list(find_leaks(splits))
    with pytest.raises(UserFault, match="has 21 of the 20, too few as no subject is to be parted"):
        split(recipe, cases[:21])
