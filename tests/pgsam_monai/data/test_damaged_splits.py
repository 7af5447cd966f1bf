"""A splits.json that was edited wrongly is told in a sentence that names it and what to do."""

from __future__ import annotations

import json

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.splits import read_few_slices, select_cases

GOOD = {
    "schema_version": 1, "seed": 3, "few_shot": None, "cases": {"a": {"image": "a.nii", "label": "b.nii"}},
    "folds": [{"training": ["a"], "validation": []}], "test": [],
}  # fmt: skip


def test_the_good_one_is_read(tmp_path):
    (tmp_path / "splits.json").write_text(json.dumps(GOOD))
    assert select_cases(tmp_path / "splits.json", "/data")[0]["image"] == "/data/a.nii"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", "{" * 5000, '{"seed": NaN}', "\x00",
        *(
            json.dumps({**GOOD, **changed})
            for changed in (
                {"cases": []}, {"cases": {"a": 1}}, {"cases": {"a": {"image": 3}}}, {"cases": {"a": {"image": []}}},
                {"cases": {"a": {"image": "a", "label": 5}}}, {"cases": {"a": {"image": "a", "slices": ["x"]}}},
                {"folds": {}}, {"folds": [1]}, {"folds": [{"training": ["a"]}]}, {"test": "a"}, {"test": ["b"]},
                {"folds": [{"training": ["a", "c"], "validation": []}]}, {"seed": "x"},
                {"few_shot": {"level": "slice"}},
            )
        ),
    ],
)  # fmt: skip
def test_a_damaged_one_is_told(tmp_path, text):
    file = tmp_path / "splits.json"
    file.write_text(text)
    for read in (read_few_slices, lambda path: select_cases(path, "/data")):
        with pytest.raises(
            UserFault, match=r"splits.json' is damaged: .*; plan the data set again.*\.$"
        ) as fault:
            read(file)
        assert "\n" not in str(fault.value)
