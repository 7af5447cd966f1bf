"""Stated splits that part a subject's cases are told, and stay."""

from __future__ import annotations

from dataclasses import replace

from preprocess.layouts import Case
from preprocess.splits.leaks import find_leaks
from preprocess.splits.splits import make_splits
from preprocess.splits.subjects import Subjects


def case(name, fold=None, group="train"):
    return Case(name=name, images=(f"{name}.nii.gz",), label="l", fold=fold, group=group)


def split(cases, of, folds=2):
    subjects = Subjects(rule="names", reason="By name.", of={one.name: one.name[0] for one in cases} | of)
    labels = {one.name: (1,) for one in cases if one.group == "train"}
    return make_splits(cases, labels=labels, folds=folds, seed=1, subjects=subjects)


def test_folds_that_the_data_set_states():
    splits = split([case("a0", 0), case("a1", 1), case("b0", 0), case("b1", 0), case("c0", 1)], {})
    assert splits.folds[0].validation == ("a0", "b0", "b1")
    found = [fault.found for fault in find_leaks(splits)]
    assert found == [
        "training and validation of fold 0: 1 of 2 subjects, such as a (a1 and a0)",
        "training and validation of fold 1: 1 of 2 subjects, such as a (a0 and a1)",
    ]
    assert {fault.level for fault in find_leaks(splits)} == {"warning"}


def test_the_test_part():
    cases = [case("a0"), case("b0"), case("c0"), case("t0", group="test"), case("t1", group="test")]
    (fault,) = find_leaks(split(cases, {"t1": "b"}))
    assert fault.found == "training and test: 1 of 2 subjects, such as b (b0 and t1)"
    assert not list(find_leaks(split(cases, {})))


def test_own_folds_and_a_subject_each_have_none():
    cases = [case(f"{person}{n}") for person in "abcdef" for n in range(3)]
    splits = split(cases, {}, folds=5)
    assert splits.subjects and not list(find_leaks(splits))
    alone = replace(splits, subjects=None, cases={name: {"image": "i"} for name in splits.cases})
    assert not list(find_leaks(alone))
