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


def test_a_text_for_no_class_is_refused(tmp_path):
    with pytest.raises(UserFault, match="no class 'livr'. Did you mean 'liver'"):
        written(tmp_path, {"a": {"livr": "x"}})
