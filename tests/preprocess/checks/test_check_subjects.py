"""Cases of one subject that folds would part."""

from __future__ import annotations

from dataclasses import replace

import pytest
from facts_builders import dataset_of, facts

from preprocess.checks.subjects import check_subjects
from preprocess.layouts import Case


def faults_of(subjects, **changes):
    measured = [facts(number) for number, _ in enumerate(subjects)]
    cases = [
        Case(name=case.name, images=("a",), label="b", subject=subject, **changes)
        for case, subject in zip(measured, subjects, strict=True)
    ]
    return list(check_subjects(dataset_of(".", *cases), measured))


def test_two_visits_of_one_subject():
    (fault,) = faults_of(["a", "a", "b", "b", "b", "c"])
    assert fault.found == "2 of 3 subjects, such as a with 2 cases" and fault.level == "warning"


@pytest.mark.parametrize("subjects", [["a", "b"], [None, None], ["a", None, "b"]])
def test_a_case_per_subject_or_none_known(subjects):
    assert not faults_of(subjects)


def test_folds_of_the_data_set_itself_and_unused_cases():
    assert not faults_of(["a", "a"], fold=0)
    measured = [facts(0)]
    case = Case(name=measured[0].name, images=("a",), label="b", subject="a")
    assert not list(check_subjects(dataset_of(".", case, replace(case, name="skipped")), measured))
