import json
import os
import re

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.texts import read_texts, write_texts

NAMES = ("background", "spleen", "left kidney")
TEXTS = {
    "background": "Everything else.",
    "spleen": ["A crescent.", "The Milz – là."],
    "left kidney": "A bean.",
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "configs" / "texts.json"


def put(file, content):
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_what_is_written_is_read(file):
    write_texts(file, TEXTS)

    assert read_texts(file, NAMES) == [["Everything else."], ["A crescent.", "The Milz – là."], ["A bean."]]
    assert list(json.loads(file.read_text(encoding="utf-8"))) == list(NAMES)


def test_the_file_is_pleasant_to_edit_and_always_the_same(file):
    write_texts(file, TEXTS)
    first = file.read_bytes()
    write_texts(file, {**TEXTS, "left kidney": ["A bean."]})

    assert file.read_bytes() == first
    assert first.decode() == (
        '{\n  "background": "Everything else.",\n  "spleen": [\n    "A crescent.",\n    "The Milz – là."\n  ],\n'
        '  "left kidney": "A bean."\n}\n'
    )


def test_texts_come_in_the_order_of_the_names_not_of_the_file(file):
    put(file, {"spleen": "b", "background": "a"})

    assert read_texts(str(file), ["background", "spleen"]) == [["a"], ["b"]]


def test_a_byte_order_mark_and_blanks_around_a_text_do_no_harm(file):
    put(file, '\ufeff{"background": "  a\\n"}')

    assert read_texts(file, ["background"]) == [["a"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"background": "a", "spleen": "b"}, "lacks 'left kidney'; add a text"),
        (
            {"background": "a", "spleen": "b", "left kidny": "c"},
            "'left kidny', which is no class; did you mean 'left k",
        ),
        ({**TEXTS, "liver": "d"}, "It has|it has 'liver', which is no class; take it out"),
        ({**TEXTS, "spleen": ""}, "'spleen': a text must have words"),
        ({**TEXTS, "spleen": " \n"}, "'spleen': a text must have words"),
        ({**TEXTS, "spleen": []}, "'spleen': write a text.*an empty list"),
        ({**TEXTS, "spleen": ["a", 3]}, "'spleen': a text must have words; got 3"),
        ({**TEXTS, "spleen": {"a": "b"}}, "'spleen': write a text or a list"),
        ({**TEXTS, "spleen": None}, "'spleen': write a text or a list"),
        (["a"], "must hold a JSON object"),
        ("{not json", "is no JSON"),
        ('{"background": "a", "background": "b"}', "'background' stands twice"),
    ],
)
def test_faults_are_named_with_file_and_remedy(file, content, message):
    put(file, content)

    with pytest.raises(UserFault, match=message) as caught:
        read_texts(file, NAMES)
    assert str(file) in str(caught.value)


def test_a_missing_file_says_what_to_do(file):
    with pytest.raises(UserFault, match=f"{re.escape(str(file))}.*No such file.*plan the data set again"):
        read_texts(file, NAMES)


@pytest.mark.parametrize("given", ["", "  ", [], ["a", ""], None, 3])
def test_a_class_without_text_is_never_written(file, given):
    with pytest.raises(UserFault, match="'spleen'"):
        write_texts(file, {**TEXTS, "spleen": given})

    assert not file.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(file, monkeypatch):
    write_texts(file, TEXTS)
    before = file.read_bytes()

    def refuse(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_texts(file, {"background": "new"})

    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
