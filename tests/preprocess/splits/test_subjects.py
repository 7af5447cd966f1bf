"""Whom the cases show, in folders made by hand, and that no subject stands on two sides."""

from __future__ import annotations

import json
import random

import pytest
from dataset_builders import tiny_image, tiny_label, write_volume
from dicom_files import make_series
from facts_builders import dataset_of
from plan_evidence import CPU

from pgsam_monai.base.errors import UserFault
from preprocess.checks.duplicates import copies_among
from preprocess.fingerprint.dataset import fingerprint_to_json, measure_dataset
from preprocess.layouts import Case, find_dataset
from preprocess.rules import collect_evidence
from preprocess.splits.few_shot import few_shot_splits
from preprocess.splits.records import Splits
from preprocess.splits.splits import make_splits
from preprocess.splits.subjects import find_subjects

PEOPLE = range(1, 6)


def write(folder, number, image, label):
    """A scan of its own."""
    classes = tiny_label(number)
    write_volume(folder / image, tiny_image(number, classes))
    write_volume(folder / label, classes)


def bids(folder):
    for person in PEOPLE:
        for session in (1, 2):
            name = f"sub-{person:02d}/ses-{session}/anat/sub-{person:02d}_ses-{session}"
            write(folder, 10 * person + session, f"{name}_T1w.nii.gz", f"derivatives/{name}_dseg.nii.gz")


def dicom(folder):
    """Two series of each patient, in folders that don't say so."""
    for number in range(10):
        classes = tiny_label(number)

        def named(item, k, person=number // 2):
            item.PatientID = f"MRN-44{person}"

        make_series(folder / f"images/x{number}", tiny_image(number, classes), change=named, uid=number + 1)
        write_volume(folder / f"labels/x{number}.nii.gz", classes)


def sides(folder):
    for person in PEOPLE:
        for side in "LR":
            name = f"{person:03d}_{side}.nii.gz"
            write(folder, 10 * person + (side == "L"), f"images/{name}", f"labels/{name}")


def time_points(folder):
    """A folder per patient, and one per visit in it."""
    for person in PEOPLE:
        for visit in ("2019", "2021"):
            at = f"clinic/P{person}/{visit}"
            write(folder, 10 * person + int(visit[-1]), f"{at}/scan.nii.gz", f"{at}/scan_seg.nii.gz")


def acdc(folder):
    for person in PEOPLE:
        for frame in ("01", "12"):
            name = f"patient{person:03d}/patient{person:03d}_frame{frame}"
            write(folder, 10 * person + int(frame) % 10, f"{name}.nii.gz", f"{name}_gt.nii.gz")


def datalist(folder):
    entries = []
    for number in range(10):
        entry = {"image": f"scans/{number}.nii.gz", "label": f"truth/{number}.nii.gz"}
        write(folder, number, *entry.values())
        entries.append(entry | {"patient_id": 100 + number // 2})
    (folder / "list.json").write_text(json.dumps({"training": entries}))


@pytest.mark.parametrize(
    ("builder", "rule", "example"),
    [
        (bids, "dataset", "sub-01 (sub-01_ses-1, sub-01_ses-2); sub-02 ("),
        (dicom, "dicom", "patient-1 (x0, x1); patient-2 (x2, x3); patient-3 (x4, x5)."),
        (sides, "names", "001 (001_L, 001_R); 002 (002_L, 002_R)"),
        (time_points, "folders", "clinic/P1 ("),
        (acdc, "dataset", "patient001 (patient001_frame01, patient001_frame12)"),
        (datalist, "dataset", "100 ("),
    ],
)
def test_five_people_scanned_twice(tmp_path, builder, rule, example):
    builder(tmp_path)
    dataset = find_dataset(tmp_path)
    fingerprint = measure_dataset(dataset)
    evidence = collect_evidence(fingerprint, dataset, machine=CPU)
    found, subjects = next(iter(evidence.subjects.items()))
    assert found == subjects.rule == rule
    assert "10 cases of 5 subjects, such as" in subjects.reason and example in subjects.reason
    for few_shot, people in ((None, 4), ("3", 3), ("50%", 2)):
        made = make_splits(
            dataset.cases, labels=evidence.cases, folds=5, seed=123, few_shot=few_shot, subjects=subjects
        )
        assert made.subjects == {"rule": rule, "reason": subjects.reason}
        for fold in made.folds:
            assert len(fold.training) == 2 * people and len(fold.validation) == 2
            assert len(apart(made, fold)[0]) == people
    assert "MRN" not in json.dumps(made.to_json()) + fingerprint_to_json(fingerprint)


def apart(splits, *folds):
    """The training subjects and the others of each fold, which share none."""
    for fold in folds:
        trained, validated = (
            {splits.cases[name]["subject"] for name in part} for part in (fold.training, fold.validation)
        )
        assert not trained & validated
    return trained, validated


def cases_of(visits, **changes):
    """Cases a0, a1, ... of each person."""
    return [
        Case(name=f"{person}_{n}", images=(f"{person}_{n}.nii.gz",), label="l", subject=person, **changes)
        for person, count in visits.items()
        for n in range(count)
    ]


def subjects_of(cases, **more):
    return next(
        iter(find_subjects(dataset_of("/d", *cases), training=[c.name for c in cases], **more).values())
    )


@pytest.mark.parametrize("seed", range(40))
def test_no_subject_stands_on_two_sides(seed):
    """Any number of visits, labels, folds and few subjects; each validates once, subsets are nested."""
    draw = random.Random(seed)
    cases = cases_of({f"p{n}": draw.randint(1, 5) for n in range(draw.randint(5, 25))})
    draw.shuffle(cases)
    labels = {case.name: draw.sample(range(1, 5), draw.randint(0, 4)) for case in cases}
    subjects = subjects_of(cases) if any(case.name.endswith("_1") for case in cases) else None
    people, folds = len({case.subject for case in cases}), draw.randint(2, 5)
    wished = {"folds": folds, "seed": seed, "labels": labels, "subjects": subjects}
    whole = make_splits(cases, **wished)
    apart(whole, *whole.folds)
    validated = [name for fold in whole.folds for name in fold.validation]
    assert sorted(validated) == sorted(case.name for case in cases)
    sizes = [len(apart(whole, fold)[1]) for fold in whole.folds]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == people
    kept = [make_splits(cases, few_shot=count, **wished) for count in (2, 1)]
    again = Splits.from_json(json.loads(json.dumps(whole.to_json())))
    kept += [few_shot_splits(again, count, seed=seed) for count in (2, 1)]
    for number, fold in enumerate(whole.folds):
        for two, one in (kept[:2], kept[2:]):
            assert set(one.folds[number].training) < set(two.folds[number].training) <= set(fold.training)
            for few, count in ((two, 2), (one, 1)):
                trained, _ = apart(few, few.folds[number])
                assert len(trained) == count and few.few_shot["level"] == "subject"
                # with all that they have in the fold's training list
                own = [name for name in fold.training if whole.cases[name]["subject"] in trained]
                assert list(few.folds[number].training) == own


def test_labels_of_all_visits_count_in_few_shot_subsets():
    cases = cases_of({f"p{n}": 2 for n in range(8)})
    labels = {case.name: (1,) for case in cases} | {"p3_1": (2,)}
    for seed in range(5):
        made = make_splits(cases, labels=labels, folds=4, seed=seed, few_shot=1, subjects=subjects_of(cases))
        drawn = [fold.training for fold in made.folds if "p3_1" not in fold.validation]
        assert drawn == [("p3_0", "p3_1")] * 3


def test_a_case_each_is_split_as_if_nothing_were_known():
    cases = cases_of({f"p{n}": 1 for n in range(12)})
    labels = {case.name: (1,) for case in cases}
    subjects = subjects_of(cases)
    assert subjects.rule == "dataset" and "no two of 12 are known" in subjects.reason
    wished = {"labels": labels, "folds": 5, "seed": 3, "few_shot": "4"}
    assert make_splits(cases, subjects=subjects, **wished) == make_splits(cases, **wished)


def test_too_few_subjects_and_too_many_folds_are_one_sentence():
    cases = cases_of({"a": 3, "b": 3, "c": 3})
    wished = {"labels": {case.name: (1,) for case in cases}, "seed": 1, "subjects": subjects_of(cases)}
    with pytest.raises(UserFault, match="3 subjects can't make 5 folds; choose 2 to 3"):
        make_splits(cases, folds=5, **wished)
    with pytest.raises(UserFault, match="only 2 training subjects are left"):
        make_splits(cases, folds=3, few_shot=3, **wished)


def test_one_subject_of_everything_is_not_taken():
    for cases in (
        cases_of({"only": 6}),
        [Case(name=f"P1_t{n}", images=(f"{n}.nii.gz",), label="l") for n in range(6)],
    ):
        found = subjects_of(cases)
        assert found.rule == "none" and not found.groups([case.name for case in cases])
        assert "all would be one subject, which isn't taken" in found.reason
    named = [Case(name=f"c{n}", images=(f"{n}.nii.gz",), label="l") for n in range(4)]
    same = subjects_of(named, patients={case.name: "0f" for case in named})
    assert same.rule == "none" and "By dicom all would be" in same.reason
    with pytest.raises(UserFault, match="one subject, x, of all 4 training cases"):
        subjects_of(named, stated={case.name: "x" for case in named})


def test_cases_that_have_gone_since_they_were_measured():
    cases = cases_of({"a": 2, "b": 2})
    names = [case.name for case in cases]
    found = find_subjects(
        dataset_of("/d", *cases), training=[*names, "gone"], patients={"gone": "ff"}, copies=[["gone", "a_0"]]
    )
    assert found["dataset"].count([*names, "gone"]) == 3 and "gone" not in found["none"].of


def test_a_patient_without_id_is_another_one():
    cases = [Case(name=f"c{n}", images=(f"{n}.nii.gz",), label="l") for n in range(5)]
    found = subjects_of(cases, patients={"c0": "aa", "c2": "bb", "c3": "aa"})
    assert found.of == {"c0": "patient-1", "c1": "c1", "c2": "patient-2", "c3": "patient-1", "c4": "c4"}


def test_copies_stay_together():
    cases = cases_of({"a": 2, "b": 1, "c": 1, "d": 1})
    found = subjects_of(cases, copies=[["a_1", "b_0"], ["b_0", "c_0"]])
    assert found.of == {"a_0": "a", "a_1": "a", "b_0": "a", "c_0": "a", "d_0": "d"}
    assert found.reason.endswith("Copies of an image count as one subject.")
    everything = [[case.name for case in cases]]
    assert subjects_of(cases, copies=everything).of["b_0"] == "b"  # or nothing could be split


def test_copies_are_found_by_what_is_measured(tmp_path):
    for number in range(4):
        write(tmp_path, max(number, 1), f"images/c{number}.nii.gz", f"labels/c{number}.nii.gz")
    dataset = find_dataset(tmp_path)
    fingerprint = measure_dataset(dataset)
    assert [[case.name for case in copies] for copies in copies_among(fingerprint.cases)] == [["c0", "c1"]]
    evidence = collect_evidence(fingerprint, dataset, machine=CPU)
    subjects = evidence.subjects_by("none")
    assert subjects.of == {"c0": "c0", "c1": "c0", "c2": "c2", "c3": "c3"}
    with pytest.raises(UserFault, match="subjects names: that doesn't tell .* choose none, or plan it again"):
        evidence.subjects_by("names")
