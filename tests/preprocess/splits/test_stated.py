"""What the user says of subjects: tables, expressions, and what is wrong with them."""

from __future__ import annotations

import re

import pytest
from facts_builders import dataset_of

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Case
from preprocess.splits.stated import read_stated, stated_subjects

DATASET = dataset_of(
    "/data",
    Case(name="a", images=("x/anna_1.nii.gz",), label="l"),
    Case(name="b", images=("x/anna_2.nii.gz",), label="l"),
    Case(name="c", images=("y/otto_1_0000.nii.gz", "y/otto_1_0001.nii.gz"), label="l"),
    images_without_label=("y/otto_2.nii.gz",),
)
ANNA = {"a": "anna", "b": "anna", "c": "otto"}


def said(text):
    return stated_subjects(DATASET, read_stated(str(text)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "case,subject\na,anna\nb,anna\nc,otto\n"),
        ("t.csv", "Patient,Scan\nanna,a\nanna,b\notto,c\n"),
        ("t.csv", "\ufeffa;anna\nb;anna\n\nc;otto\n"),
        ("t.tsv", "participant_id\tage\timage\nanna\t50\tx/anna_1.nii.gz\nanna\t51\tanna_2.nii.gz\notto\t9\totto_1\n"),
        ("t.txt", "a, anna\nb, anna\nc, otto\nc, otto\ny/otto_2.nii.gz, otto\n"),
        ("t.json", '{"a": "anna", "b": "anna", "c": "otto"}'),
        ("table", "a,anna\nb,anna\nc,otto"),
    ],
)  # fmt: skip
def test_tables(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert said(tmp_path / name) == ANNA


def test_expressions_over_names_or_paths():
    assert said("([a-z]+)_[0-9]") == ANNA
    assert said("(.)$") == {"a": "a", "b": "b", "c": "c"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("anna", "no such file, and an expression needs one group, not 0"),
        ("(a)(b)", "needs one group, not 2"),
        ("(a", r"neither a file nor a regular expression \(missing"),
        ("(anna)_", "finds no subject in 3 of 3 case names, such as 'a'"),
        ("(x*)", "finds no subject in 3 of 3 case names"),
        ("nowhere.csv", "nowhere.csv: the file does not exist; give a table"),
    ],
)
def test_expressions_that_tell_nothing(text, sentence):
    with pytest.raises(UserFault, match=sentence):
        said(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,anna\nb,anna\n", "names no subject of 1 of 3 cases, the first is 'c'; add a line"),
        ("a,anna\nb,anna\nc,otto\nd,x\nanna_3,x\n", "2 of its names are of no case or image, the first is 'd'"),
        ("a,anna\nb,anna\nc,otto\nc,anna\n", "'c' has two subjects, otto and anna"),
        ("a,anna\nanna_1.nii.gz,x\nb,anna\nc,otto\n", "case 'a' has two subjects, anna and x"),
        ("a,anna\nb,\nc,otto\n", "no subject beside 'b'"),
        ("case,age,who\na,3,anna\n", "give two columns, case and subject"),
        ("case,subject\na,anna\nb\n", "the line 'b' lacks a column"),
        ("case,subject\n", "no lines"),
        ("", "give two columns"),
        (b"\xff\xfe\x00", "no readable table"),
    ],
)  # fmt: skip
def test_tables_that_are_wrong(tmp_path, text, sentence):
    file = tmp_path / "t.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserFault, match=sentence):
        said(file)


@pytest.mark.parametrize("text", ['["a"]', '{"a": {"x": 1}}', "{", '{"a": null}', '{"a": " "}'])
def test_json_that_is_wrong(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserFault, match=re.escape("t.json")):
        said(tmp_path / "t.json")


def test_files_that_several_cases_have(tmp_path):
    (tmp_path / "t.csv").write_text("image,1\n")
    cases = [Case(name=name, images=(f"{name}/image.nii.gz",), label="l") for name in "ab"]
    with pytest.raises(UserFault, match="'image' may be a or b; write the cases' names"):
        stated_subjects(dataset_of("/data", *cases), read_stated(str(tmp_path / "t.csv")))
