"""Ranges of cases small enough to work out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_builders import oblique_affine
from facts_builders import add_case, dataset_of

from preprocess.fingerprint.measure import measure_case
from preprocess.fingerprint.training_facts import training_facts

AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])  # LAS, voxels of 2 mm3


def measured(folder, count=5, affine=AFFINE):
    """Case n has n + 1 voxels of 3 and one of 4, of value 10 n where the rest is 0 to 100."""
    cases = []
    for n in range(count):
        image = np.resize(np.arange(101, dtype=np.int16), (10, 5, 4))
        label = np.zeros((10, 5, 4), np.uint8)
        label[: n + 1, 1, 2] = 3
        label[9, 3, 0] = 4
        image[label > 0] = 10 * n
        cases.append(add_case(folder, f"case_{n}", image, label, affine))
    dataset = dataset_of(folder, *cases)
    return [measure_case(case, dataset).facts for case in cases]


def folded(facts, classes, trained=None, **options):
    options = {"has_millimetres": True, "scaled_by_percentiles": False, **options}
    trained = {case.name for case in facts} if trained is None else trained
    return training_facts(facts, trained=trained, classes=classes, **options)


def test_what_a_structure_is_like(tmp_path):
    facts = folded(measured(tmp_path), {"rod": (3,), "dot": (4,), "both": (3, 4), "none": (7,)})
    rod, dot, both, none = facts.structures.values()
    assert (facts.cases, facts.is_oriented, facts.shape[0].min, facts.spacing[2].max) == (5, True, 10, 2)
    assert (rod.cases, rod.of, rod.millilitres.min, rod.millilitres.max) == (5, 5, 0.002, 0.01)
    assert [(span.min, span.max) for span in rod.position] == [(0.75, 0.95), (0.3, 0.3), (0.625, 0.625)]
    assert [(span.min, span.max) for span in dot.position] == [(0.05, 0.05), (0.7, 0.7), (0.125, 0.125)]
    assert (rod.mean[0].min, rod.mean[0].max) == (0, 40)
    assert (both.millilitres.min, both.millilitres.max) == (0.004, 0.012)
    assert both.position[1].max == 0.5  # of one voxel and one, at 0.3 and 0.7
    assert (none.cases, none.of, none.millilitres, none.position) == (0, 5, None, None)


def test_intensities_as_networks_see_them(tmp_path):
    cases = measured(tmp_path)
    stored, scaled = (folded(cases, {"dot": (4,)}, scaled_by_percentiles=way) for way in (False, True))
    assert (stored.intensity, scaled.intensity) == ("as stored", "by percentiles")
    assert stored.channels[0].percentile_99_5.max == pytest.approx(99, abs=1)
    assert scaled.channels[0].percentile_99_5 is None and 0.4 < scaled.channels[0].mean.max < 0.6
    assert scaled.structures["dot"].mean[0].max == pytest.approx(0.4, abs=0.02)


def test_only_what_trains_counts_and_of_few_nothing_is_known(tmp_path):
    cases = measured(tmp_path, 6)
    assert (
        folded(cases, {"rod": (3,)}, {f"case_{n}" for n in range(5)}).structures["rod"].millilitres.max
        == 0.01
    )
    few = folded(cases, {"rod": (3,)}, {"case_1", "case_2"})
    assert (few.cases, few.structures, few.channels, few.shape) == (2, {}, (), ())


def test_cases_that_were_not_searched_for_a_structure_say_nothing_of_it(tmp_path):
    cases = [
        replace(case, labelled=(4,) if case.name == "case_0" else None) for case in measured(tmp_path, 6)
    ]
    structures = folded(cases, {"none": (7,), "dot": (4,)}).structures
    assert (structures["none"].of, structures["dot"].of) == (5, 6)


def test_pictures_have_no_millimetres_and_no_sides(tmp_path):
    cases = [replace(case, orientation="") for case in measured(tmp_path, affine=oblique_affine())]
    facts = folded(cases, {"rod": (3,)}, has_millimetres=False)
    assert not facts.is_oriented and facts.spacing == () and facts.shape[0].min == 10
    assert facts.structures["rod"].millilitres is None and facts.structures["rod"].position is None
