"""Few-shot subsets: nested, seeded, covering the structures."""

import json
from dataclasses import replace

import pytest

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Case
from preprocess.recipes import load_recipe, published_splits, splits_by_recipe
from preprocess.splits.few_shot import BY_SEED_ALONE, FewShot, few_shot_order, few_shot_splits
from preprocess.splits.records import Splits
from preprocess.splits.splits import make_splits

SEEDS = range(6)


def cases(count):
    return [
        Case(name=f"c{n:02d}", images=(f"i{n}.nii.gz",), label=f"l{n}.nii.gz", group="train")
        for n in range(count)
    ]


def split(count=20, labels=None, folds=5, seed=123, few_shot=None):
    found = cases(count)
    held = {case.name: (1,) for case in found} | (labels or {})
    return make_splits(found, labels=held, folds=folds, seed=seed, few_shot=few_shot)


def order(labels, seed=0):
    return few_shot_order(list(labels), labels=labels, seed=seed)


def test_planned_subsets_are_nested_and_leave_validation_alone():
    wishes = (None, "10", "5", "3", "1")
    made = [split(few_shot=wish) for wish in wishes]
    for folds in zip(*(splits.folds for splits in made), strict=True):
        assert [len(fold.training) for fold in folds] == [16, 10, 5, 3, 1]
        assert len({fold.validation for fold in folds}) == 1
        for larger, smaller in zip(folds, folds[1:], strict=False):
            assert set(smaller.training) < set(larger.training)
    assert made[2].few_shot == {"spec": "5", "level": "case"}


def test_a_share_is_of_each_training_list():
    assert {len(fold.training) for fold in split(25, few_shot="10%").folds} == {2}
    assert {len(fold.training) for fold in split(10, few_shot="1%").folds} == {1}


def test_slices_are_a_rule_for_training():
    made = split(10, few_shot="slices:10%")
    assert made.few_shot == {"spec": "slices:10%", "level": "slice", "share": 0.1}
    assert made.folds == split(10).folds
    assert split(10, few_shot="slices:50").few_shot == {"spec": "slices:50", "level": "slice", "count": 50}


@pytest.mark.parametrize("seed", SEEDS)
def test_most_new_labels_first_then_the_rarest(seed):
    labels = {"many": (1, 2, 3, 4, 5), "again": (1, 2, 3, 4, 5), "rare": (6,), "none": ()}
    assert order(labels, seed)[0] in ("many", "again")
    # A sixth label that a single case holds comes before a second look at five others.
    assert order(labels, seed)[1] == "rare"
    assert order(labels, seed)[3] == "none"


@pytest.mark.parametrize("seed", SEEDS)
def test_rare_labels_come_first_among_equals(seed):
    labels = {f"c{n}": (1,) for n in range(30)} | {"c7": (2,), "c19": (3,), "c20": (3,)}
    drawn = order(labels, seed)
    assert drawn[0] == "c7"  # one case holds 2, two hold 3, the others 1
    assert drawn[1] in ("c19", "c20")
    assert labels[drawn[2]] == (1,)


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_take_turns(seed):
    labels = {f"a{n}": (1,) for n in range(9)} | {f"b{n}": (2,) for n in range(3)}
    first = [labels[name][0] for name in order(labels, seed)[:6]]
    assert first == [2, 1, 2, 1, 2, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fold_covers_its_own_labels(seed):
    """Two cases hold label 2; the fold that validates on one of them must train on the other, at once."""
    made = split(20, labels={"c03": (2,), "c11": (2,)}, seed=seed, few_shot="2")
    for fold in made.folds:
        assert {"c03", "c11"} & set(fold.training)
        assert {value for name in fold.training for value in made.cases[name]["labels"]} == {1, 2}


def test_the_seed_decides_among_equals():
    labels = {f"c{n}": (1, 2) for n in range(20)}
    assert order(labels, 4) == order(labels, 4)
    assert len({tuple(order(labels, seed)[:3]) for seed in SEEDS}) > 1
    assert sorted(order(labels)) == sorted(labels)


def test_two_thousand_cases_are_ordered_at_once():
    labels = {f"c{n}": (1, 2, 3 + n % 11) for n in range(2000)}
    drawn = order(labels)
    assert len({labels[name] for name in drawn[:11]}) == 11


@pytest.mark.parametrize("wish", ["0", "-3", "2.5", "110%", "many", "slices:", "0%"])
def test_unreadable_wishes_are_refused(wish):
    with pytest.raises(UserFault, match="give a number of cases"):
        FewShot.parse(wish)


def test_too_many_are_refused():
    with pytest.raises(UserFault, match="only 8 training cases are left"):
        split(10, few_shot=9)


def test_subsets_from_splits_json_alone():
    whole = Splits.from_json(json.loads(json.dumps(split(labels={"c03": (1, 2), "c11": (1, 2)}).to_json())))
    drawn = {count: few_shot_splits(whole, count, seed=7) for count in (1, 3, 8, 16)}
    assert drawn[3].few_shot == {"spec": "3", "level": "case", "seed": 7}
    assert (drawn[3].seed, drawn[3].note) == (whole.seed, "")
    for number, fold in enumerate(whole.folds):
        subsets = [set(splits.folds[number].training) for splits in drawn.values()]
        assert [len(subset) for subset in subsets] == [1, 3, 8, 16]
        assert subsets[0] < subsets[1] < subsets[2] < subsets[3] == set(fold.training)
        assert subsets[0] <= {"c03", "c11"}
        assert drawn[3].folds[number].validation == fold.validation
        place = [fold.training.index(name) for name in drawn[3].folds[number].training]
        assert place == sorted(place)


def test_other_seeds_draw_other_cases():
    whole = split()
    drawn = {few_shot_splits(whole, 3, seed).folds[0].training for seed in SEEDS}
    assert len(drawn) > 3


def test_subsets_of_a_subset_stay_inside():
    few = split(few_shot="6")
    drawn = few_shot_splits(few, 2, seed=1)
    for larger, smaller in zip(few.folds, drawn.folds, strict=True):
        assert set(smaller.training) < set(larger.training)
    with pytest.raises(UserFault, match="only 6 training cases"):
        few_shot_splits(few, 7, seed=1)


def test_splits_that_draw_slices_are_refused():
    with pytest.raises(UserFault, match=r"draw slices already \(slices:10%\); plan the data set without it"):
        few_shot_splits(split(few_shot="slices:10%"), 2, seed=0)


def test_without_measured_labels_the_seed_decides_and_the_note_says_so():
    whole = split()
    bare = replace(
        whole, cases={name: {"image": "i", "label": "l"} for name in whole.cases}, note="As published."
    )
    drawn, smaller = few_shot_splits(bare, 5, seed=2), few_shot_splits(bare, 2, seed=2)
    assert drawn.note == f"As published. {BY_SEED_ALONE}"
    assert set(smaller.folds[0].training) < set(drawn.folds[0].training)
    assert few_shot_splits(drawn, 2, seed=2).note == drawn.note


def test_recipes_without_data_draw_by_seed_alone():
    recipe = load_recipe("samed_synapse")
    whole, five, two = (published_splits(recipe, few_shot=wish) for wish in (None, "5", "2"))
    assert set(two.folds[0].training) < set(five.folds[0].training) < set(whole.folds[0].training)
    assert five.folds[0].validation == whole.folds[0].validation
    assert BY_SEED_ALONE in five.note and BY_SEED_ALONE not in whole.note
    with pytest.raises(UserFault, match="only 18 training cases"):
        published_splits(recipe, few_shot="19")


def test_recipes_with_data_balance_the_draw():
    recipe = load_recipe("samed_synapse")
    found = [Case(name=f"img{n:04d}", images=(f"i{n}",), label="l", group="train") for n in range(1, 41)]
    labels = {case.name: (1,) for case in found}
    rare = f"img{recipe.training[5]:04d}"
    made = splits_by_recipe(recipe, found, seed=3, few_shot="2", labels=labels | {rare: (1, 2)})
    assert rare in made.folds[0].training
    assert made.cases[rare]["labels"] == [1, 2]
    assert BY_SEED_ALONE not in made.note
