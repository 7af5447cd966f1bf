import json

import pytest

from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.base.training_facts import (
    ChannelRanges,
    Range,
    StructureRanges,
    TrainingFacts,
    margin_share,
    read_training_facts,
)


def facts():
    span = Range.of([1.0, 2.0, 3.0, 4.0, 5.0])
    structure = StructureRanges(
        values=(3, 4), cases=5, of=6, millilitres=span, position=(span,) * 3, mean=None
    )
    return TrainingFacts(
        cases=6,
        is_oriented=True,
        shape=(span,) * 3,
        spacing=(span,) * 3,
        channels=(ChannelRanges(mean=span, percentile_00_5=None, percentile_99_5=span),),
        structures={"liver": structure},
    )


def test_a_range_of_too_few_says_nothing():
    assert Range.of([1.0] * 4) is None
    found = Range.of([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (found.cases, found.min, found.max, found.quantiles[2]) == (5, 1.0, 5.0, 3.0)


def test_the_margin():
    assert margin_share(20) == pytest.approx(0.45)
    known = Range(cases=20, min=100.0, max=200.0, quantiles=())
    assert [known.holds(value) for value in (54, 56, 244, 246)] == [False, True, True, False]
    ratio = 2**0.45  # volumes are measured by ratios: half and double are as far away
    for factor, holds in ((0.99, True), (1.01, False)):
        assert known.holds(200 * ratio * factor, as_ratio=True) == holds
        assert known.holds(100 / ratio / factor, as_ratio=True) == holds


def test_what_never_differed_may_differ_by_a_tenth():
    known = Range(cases=9, min=2.0, max=2.0, quantiles=())
    assert [known.holds(value) for value in (1.79, 1.81, 2.19, 2.21)] == [False, True, True, False]
    assert known.holds(2.19, as_ratio=True) and not known.holds(2.21, as_ratio=True)


def test_no_ratio_to_nothing():
    assert Range(cases=9, min=0.0, max=2.0, quantiles=()).holds(5.0, as_ratio=True)


def test_to_a_file_and_back(tmp_path):
    file = tmp_path / "training_facts.json"
    assert read_training_facts(file) is None
    file.write_text(json.dumps(facts().to_json()))
    assert read_training_facts(file) == facts()


@pytest.mark.parametrize(
    "damage",
    [
        {"cases": "many"},
        {"schema_version": 2},
        {"intensity": "odd"},
        {"shape": [None]},
        {"structures": {"liver": {"values": [1], "cases": 1}}},
        {"channels": [{}]},
        {"spacing": [{"cases": 0, "min": 1, "max": 1, "quantiles": []}]},
    ],
)
def test_a_damaged_file_is_told(tmp_path, damage):
    file = tmp_path / "training_facts.json"
    file.write_text(json.dumps(facts().to_json() | damage))
    with pytest.raises(DamagedFile, match=r"training_facts.json' is damaged: .*; delete it, and predictions"):
        read_training_facts(file)
