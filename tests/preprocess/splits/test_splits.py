"""Folds; few-shot subsets have test_few_shot.py."""

from collections import Counter

import pytest

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Case
from preprocess.splits.records import Splits
from preprocess.splits.splits import balanced_folds, make_splits


def cases(count, **changes):
    return [
        Case(name=f"c{n:02d}", images=(f"img/c{n:02d}.nii.gz",), label=f"lab/c{n:02d}.nii.gz", **changes)
        for n in range(count)
    ]


def labels_of(found, values=(1,)):
    return {case.name: values for case in found}


def split(found, **wishes):
    return make_splits(found, labels=labels_of(found), **({"folds": 5, "seed": 123} | wishes))


def test_every_case_validates_exactly_once():
    made = split(cases(12))
    validated = Counter(name for fold in made.folds for name in fold.validation)
    assert validated == Counter({case.name: 1 for case in cases(12)})
    assert sorted(len(fold.validation) for fold in made.folds) == [2, 2, 2, 3, 3]
    for fold in made.folds:
        assert not set(fold.training) & set(fold.validation)
        assert len(fold.training) + len(fold.validation) == 12


def test_leave_one_out():
    made = split(cases(3), folds=3)
    assert [len(fold.validation) for fold in made.folds] == [1, 1, 1]


def test_the_seed_decides_and_nothing_else():
    assert split(cases(20)) == split(cases(20))
    assert split(cases(20)) != split(cases(20), seed=7)


def test_rare_labels_spread_over_the_folds():
    names = [f"c{n}" for n in range(20)]
    labels = {name: ((1, 2) if n < 5 else (1,)) for n, name in enumerate(names)}
    for seed in range(5):
        folds = balanced_folds(names, labels=labels, folds=5, seed=seed)
        assert [sum(2 in labels[name] for name in fold) for fold in folds] == [1, 1, 1, 1, 1]
        assert [len(fold) for fold in folds] == [4, 4, 4, 4, 4]


def test_impossible_folds_are_refused():
    with pytest.raises(UserFault, match="3 cases can't make 5 folds; choose 2 to 3"):
        split(cases(3))


def test_folds_that_the_data_set_states_are_kept():
    found = [Case(name=f"c{n}", images=("i",), label="l", fold=n % 2) for n in range(6)]
    made = make_splits(found, labels=labels_of(found), folds=2, seed=1)
    assert made.folds[1].validation == ("c1", "c3", "c5")


def test_test_cases_and_multi_channel_images():
    found = [*cases(5), Case(name="t", images=("a_0000.nii.gz", "a_0001.nii.gz"), label=None, group="test")]
    made = make_splits(found, labels=labels_of(cases(5)), folds=5, seed=1)
    assert made.test == ("t",)
    assert made.cases["t"] == {"image": ["a_0000.nii.gz", "a_0001.nii.gz"], "label": None}
    assert made.cases["c00"] == {"image": "img/c00.nii.gz", "label": "lab/c00.nii.gz", "labels": [1]}


def test_json_round_trip():
    made = split(cases(6), few_shot="2")
    assert Splits.from_json(made.to_json()) == made


def test_what_was_looked_for_goes_along_where_it_was_not_everything():
    made = split([*cases(5), Case(name="p", images=("p.nii",), label="pl.nii", labelled=(1, 6))], folds=2)
    assert {name for name, entry in made.cases.items() if "labelled" in entry} == {"p"}
    assert made.cases["p"]["labelled"] == [1, 6]
