"""Texts of cases and slices: which one counts, and what is refused."""

from __future__ import annotations

import json

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.case_texts import read_case_texts

NAMES = ["background", "spleen", "liver"]


def written(tmp_path, content):
    file = tmp_path / "case_texts.json"
    file.write_text(json.dumps(content))
    return read_case_texts(file, NAMES)


def rows(texts, *place):
    return texts(*place)["text_rows"].tolist()


def test_a_slice_goes_before_its_case_and_a_case_before_its_class(tmp_path):
    texts = written(
        tmp_path,
        {"a": {"liver": "Large liver.", "spleen": ["Small.", "Tiny."]}, "a/7": {"liver": "Liver's dome."}},
    )
    assert texts.texts == [["Large liver."], ["Small.", "Tiny."], ["Liver's dome."]]
    assert rows(texts, "b") == [0, 1, 2]
    assert rows(texts, "a") == rows(texts, "a", 6) == [0, 4, 3]
    assert rows(texts, "a", 7) == [0, 4, 5]


def test_without_a_file_every_image_has_the_classes_texts(tmp_path):
    texts = read_case_texts(tmp_path / "none.json", NAMES)
    assert texts.texts == [] and rows(texts, "a", 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": {"livr": "x"}}, "'livr' is no class. Did you mean 'liver'"),
        ({"a": "text"}, "write an object"),
        (["a"], "must hold a JSON object"),
        ({"a": {"liver": ""}}, "must have words"),
    ],
)
def test_other_forms_are_refused(tmp_path, content, told):
    with pytest.raises(UserFault, match=told):
        written(tmp_path, content)
