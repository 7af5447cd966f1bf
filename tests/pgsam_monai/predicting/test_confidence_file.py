"""confidence.json: what it says is expected, and what it can't say isn't."""

import json

import pytest

from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.predicting.confidence import Calibration, Confidence, read_confidence

LINE = {"name": "liver", "map": "line", "points": [[0.8, 0.6], [0.9, 0.9]], "error": 0.05, "cases": 16}
CONTENT = {
    "schema_version": 1,
    "labels": [[0], [1], [2]],
    "calibrated_on": "16 cases",
    "structures": [LINE, {"name": "spleen", "map": None, "why": "found in 3 subjects only"}],
}


def read(tmp_path, labels=(0, 1, 2), **changes):
    (tmp_path / "confidence.json").write_text(json.dumps({**CONTENT, **changes}))
    return read_confidence(tmp_path / "confidence.json", list(labels))


def test_what_it_says(tmp_path):
    found = read(tmp_path)
    assert [found.of["liver"].expect(each) for each in (0.5, 0.85, 0.99)] == pytest.approx([0.6, 0.75, 0.9])
    assert list(found.of) == ["liver"] and found.untold == {"spleen": "found in 3 subjects only"}
    assert str(found) == "Expected Dice is calibrated on 16 cases. Nothing is expected of spleen."


def test_a_constant_is_named_as_such():
    usual = Calibration(map="constant", points=((0.8, 0.7), (0.9, 0.7)), error=0.1, cases=20)
    told = Confidence(calibrated_on="20 cases", of={"aorta": usual})
    assert usual.expect(0.1) == usual.expect(0.99) == 0.7
    assert "Of aorta it is the usual one: how sure the network is tells nothing there." in str(told)


def test_what_lies_far_outside_is_warned_of(tmp_path):
    """Half of the range beyond its ends, for 16 cases."""
    found = read(tmp_path)
    assert not found.warnings({"liver": 0.751, "spleen": 0.1}) and not found.warnings({"liver": 0.949})
    (warning,) = found.warnings({"liver": 0.7}).values()
    assert warning == "liver: soft Dice 0.70; 0.80 to 0.90 out of fold, so that its expected Dice is a guess"
    assert found.warnings({"liver": 0.96})


def test_without_the_file_nothing_is_expected(tmp_path):
    found = read_confidence(tmp_path / "confidence.json", [0, 1])
    assert not found.of and not found.warnings({"liver": 0.1}) and "not calibrated" in str(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": [[0], [1]]}, "calibrated for other labels"),
        ({"schema_version": 2}, "schema_version"),
        ({"structures": [{**LINE, "points": []}]}, "points"),
        ({"structures": [{**LINE, "points": [[0.8, 1.7]]}]}, "1.7 is greater"),
        ({"structures": [{**LINE, "points": [[0.8, 0.6], [0.9, 0.5]]}]}, "not fall in Dice"),
        ({"structures": [{**LINE, "points": [[0.8, 0.6], [0.8, 0.7]]}]}, "rise in confidence"),
        ({"structures": [{"name": "liver", "map": "line"}]}, "lacks or misshapes"),
        ({"structures": [{**LINE, "map": "spline"}]}, "spline"),
    ],
)
def test_a_damaged_one_is_a_sentence(tmp_path, change, said):
    with pytest.raises(DamagedFile, match=f"is damaged: .*{said}.*; delete it"):
        read(tmp_path, **change)
