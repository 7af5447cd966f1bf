"""Folds and few-shot subsets."""

from collections import Counter

import pytest

from preprocess.layouts import Case
from preprocess.splits import FewShot, SplitError, Splits, balanced_folds, few_shot_order, make_splits


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
    with pytest.raises(SplitError, match="3 cases can't make 5 folds; choose 2 to 3"):
        split(cases(3))


def test_folds_that_the_data_set_states_are_kept():
    found = [Case(name=f"c{n}", images=("i",), label="l", fold=n % 2) for n in range(6)]
    made = make_splits(found, labels=labels_of(found), folds=2, seed=1)
    assert made.folds[1].validation == ("c1", "c3", "c5")


def test_few_shot_subsets_are_nested_and_leave_validation_alone():
    full, five, three = (split(cases(20), few_shot=wish) for wish in (None, "5", "3"))
    for whole, larger, smaller in zip(full.folds, five.folds, three.folds, strict=True):
        assert len(larger.training) == 5 and len(smaller.training) == 3
        assert set(smaller.training) < set(larger.training) < set(whole.training)
        assert smaller.validation == whole.validation
    assert five.few_shot == {"spec": "5", "level": "case"}


def test_few_shot_shares_count_cases():
    made = split(cases(25), few_shot="10%")
    assert {len(fold.training) for fold in made.folds} == {2}  # 10 % of 20


def test_few_shot_covers_all_labels_first():
    names = [f"c{n}" for n in range(30)]
    labels = {name: (1,) for name in names} | {"c7": (2,), "c19": (3,)}
    for seed in range(5):
        assert {"c7", "c19"} <= set(few_shot_order(names, labels=labels, seed=seed)[:3])


def test_few_shot_by_slices_is_a_rule_for_training():
    made = split(cases(10), few_shot="slices:10%")
    assert made.few_shot == {"spec": "slices:10%", "level": "slice", "share": 0.1}
    assert made.folds == split(cases(10)).folds
    assert split(cases(10), few_shot="slices:50").few_shot == {
        "spec": "slices:50", "level": "slice", "count": 50,
    }  # fmt: skip


@pytest.mark.parametrize("wish", ["0", "-3", "2.5", "110%", "many", "slices:", "0%"])
def test_unreadable_few_shot_is_refused(wish):
    with pytest.raises(SplitError, match="give a number of cases"):
        FewShot.parse(wish)


def test_too_many_shots_are_refused():
    with pytest.raises(SplitError, match="only 8 training cases are left"):
        split(cases(10), few_shot=9)


def test_test_cases_and_multi_channel_images():
    found = [*cases(5), Case(name="t", images=("a_0000.nii.gz", "a_0001.nii.gz"), label=None, group="test")]
    made = make_splits(found, labels=labels_of(cases(5)), folds=5, seed=1)
    assert made.test == ("t",)
    assert made.cases["t"] == {"image": ["a_0000.nii.gz", "a_0001.nii.gz"], "label": None}
    assert made.cases["c00"]["image"] == "img/c00.nii.gz"


def test_json_round_trip():
    made = split(cases(6), few_shot="2")
    assert Splits.from_json(made.to_json()) == made
