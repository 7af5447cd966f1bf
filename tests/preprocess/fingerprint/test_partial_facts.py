"""Facts of structures that weren't looked for in every case, by hand."""

from dataclasses import replace

import numpy as np
from facts_builders import add_case, dataset_of, facts, faults_of, only

from preprocess.fingerprint.dataset import load_fingerprint, measure_dataset, write_fingerprint
from preprocess.rules import Machine, collect_evidence
from preprocess.rules.labels import choose_labels

MACHINE = Machine(target="cpu", memory_gb=8, target_reason="", memory_reason="")
NAMES = {"background": 0, "spleen": 1, "liver": 2}


def three_cases(folder):
    """10 voxels each: 2 of the spleen, in the first two cases; 4 of the liver, in the last two. The last one's spleen
    was not looked for, though 3 of its voxels stand in the file."""
    cases = []
    for n, (spleen, liver) in enumerate([(2, 0), (2, 4), (3, 4)]):
        label = np.zeros((10, 1, 1), np.uint8)
        label[:spleen], label[4 : 4 + liver] = 1, 2
        image = np.where(label == 1, 50, np.where(label == 2, 80, 0)).astype(np.int16)
        cases.append(add_case(folder, f"case_{n}", image, label))
    cases[2] = replace(cases[2], labelled=(2,))
    return dataset_of(folder, *cases, label_names=NAMES)


def test_a_structure_counts_only_where_it_was_looked_for(tmp_path):
    dataset = three_cases(tmp_path)
    made = measure_dataset(dataset, cache=tmp_path / "facts", workers=1)
    assert [sorted(case.labels) for case in made.cases] == [[1], [1, 2], [2]]
    assert made.summary.labels[1].frequency == 4 / 20
    assert made.summary.labels[2].frequency == 8 / 30
    assert made.cases[2].intensity[0].min == 80
    assert [case.unsought for case in made.cases] == [(), (), (1,)]
    write_fingerprint(made, tmp_path / "fingerprint.json")
    assert load_fingerprint(tmp_path / "fingerprint.json").cases[2].labelled == (2,)
    evidence = collect_evidence(made, dataset, machine=MACHINE)
    assert evidence.looked_for == {1: 2}
    assert evidence.cases["case_2"] == (2,)
    assert "Not looked for in all of 3 cases, but spleen in 2;" in choose_labels(evidence, {}).reason


def test_what_nobody_labelled_is_no_voxel_of_any_count(tmp_path):
    label = np.array([1, 1, 0, 0, 0, 3, 3, 3], np.uint8).reshape(8, 1, 1)
    image = np.arange(8, dtype=np.int16).reshape(8, 1, 1)
    cases = [add_case(tmp_path, f"case_{n}", image, label) for n in range(2)]
    dataset = dataset_of(tmp_path, *cases, label_names={"background": 0, "spleen": 1, "ignore": 3})
    made = measure_dataset(dataset, cache=tmp_path / "facts", workers=1)
    assert [(case.label_voxels, sorted(case.labels)) for case in made.cases] == [(5, [1])] * 2
    assert made.summary.labels[1].frequency == 2 / 5
    assert made.cases[0].intensity[0].max == 1
    evidence = collect_evidence(made, dataset, machine=MACHINE)
    assert choose_labels(evidence, {}).value == [0, 1]
    plain = dataset_of(tmp_path, *cases)
    assert sorted(measure_dataset(plain, cache=tmp_path / "facts", workers=1).cases[0].labels) == [1, 3]


def test_a_case_is_measured_again_when_something_else_was_looked_for(tmp_path):
    dataset = three_cases(tmp_path)
    measure_dataset(dataset, cache=tmp_path / "facts", workers=1)
    everything = replace(dataset, cases=tuple(replace(case, labelled=None) for case in dataset.cases))
    made = measure_dataset(everything, cache=tmp_path / "facts", workers=1)
    assert sorted(made.cases[2].labels) == [1, 2]


def test_labels_that_will_not_count_are_told():
    fault = only([fault for fault in faults_of(facts(0, labelled=(1,), unsought=(2, 4))) if fault.case])
    assert (fault.rule, fault.level) == ("labelled, though not looked for", "warning")
    assert "values 2, 4," in fault.found


def test_checks_count_where_it_was_looked_for():
    label = facts(0).labels[1]
    names = {"background": 0, "a": 1, "b": 2, "c": 3}
    cases = [facts(n, labelled=(1,)) for n in range(4)] + [
        facts(9, labels={1: label, 2: label}, labelled=(1, 2))
    ]
    faults = faults_of(*cases, good=1, label_names=names)
    missing = only([fault for fault in faults if fault.rule == "named structure missing"])
    assert missing.found == "'c' (value 3) occurs in none of 1 training cases"
    rare = only([fault for fault in faults if fault.rule == "structure in one case only"])
    assert rare.found == "'b' (value 2) occurs in one of 2 training cases"
