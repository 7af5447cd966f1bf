"""Which structures were looked for: as a data set or a file says it."""

import json

import pytest
from dataset_builders import write_datalist, write_nnunet
from facts_builders import dataset_of

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Case, by_name, describe_dataset, find_dataset, looked_for, with_labelled
from preprocess.layouts.labelled import read_labelled, values_looked_for

NAMES = {"background": 0, "spleen": 1, "left kidney": 2, "liver": 6}


def test_names_become_values_in_any_letters_and_all_of_them_are_no_restriction():
    assert values_looked_for(["Left Kidney", "spleen"], NAMES, who="x") == (1, 2)
    assert values_looked_for([6, "1"], NAMES, who="x") == (1, 6)
    assert values_looked_for(["spleen", "liver", "left kidney"], NAMES, who="x") is None
    assert values_looked_for([3, 1], None, who="x") == (1, 3)


@pytest.mark.parametrize(
    ("names", "label_names", "words"),
    [
        (["splen"], NAMES, "'splen' is none of the data set's structures.*mean 'spleen'"),
        (["background"], NAMES, "'background' is none"),
        (["3"], NAMES, "'3' is none"),
        (["spleen"], None, "names no structures; give their values"),
        ([], NAMES, "at least one"),
        ("spleen", NAMES, "must list the structures"),
        (3, NAMES, "must list the structures"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(names, label_names, words):
    with pytest.raises(UserFault, match=words):
        values_looked_for(names, label_names, who="The list")


def dataset_with(tmp_path, text, name="labelled.csv"):
    folder = write_nnunet(tmp_path / "data", cases=4)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return with_labelled(find_dataset(folder), tmp_path / name)


def test_a_table_says_it_by_case_pattern_and_for_the_others(tmp_path):
    text = "\ufeffcase,structures\ncase_2,organ2,\n\n*_3, organ1\n*,organ1,organ2\n"
    dataset = dataset_with(tmp_path, text)
    assert [case.labelled for case in dataset.cases] == [None, (2,), (1,), None]
    assert [case.looked_for(1) for case in dataset.cases] == [True, False, True, True]
    assert looked_for(dataset) == {1: 3, 2: 3}
    assert by_name(looked_for(dataset), dataset.label_names) == {"organ1": 3, "organ2": 3}
    assert "partial   looked for: organ1 in 3, organ2 in 3 of 4 cases" in describe_dataset(dataset)


def test_a_json_file_says_the_same(tmp_path):
    content = {"*": ["organ1"], "case_1": ["organ2"]}
    dataset = dataset_with(tmp_path, json.dumps(content), "labelled.json")
    assert [case.labelled for case in dataset.cases] == [(2,), (1,), (1,), (1,)]


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("case_9,organ1", "a.csv", "'case_9' is no case of 'data'. Did you mean 'case_4'"),
        ("case_1,organ1\ncase_1,organ2", "a.csv", "two lines for 'case_1'"),
        ("case_1,organ3", "a.csv", "the entry of 'case_1'.*'organ3' is none"),
        ("case_1", "a.csv", "at least one"),
        ('{"case_1": "organ1"}', "a.json", 'damaged.*it must read {"case"'),
        ("[]", "a.json", "an object in braces is expected"),
    ],
)
def test_a_misshapen_file_is_a_sentence(tmp_path, text, name, words):
    with pytest.raises(UserFault, match=words):
        dataset_with(tmp_path, text, name)
    with pytest.raises(FileNotFoundError):
        read_labelled(tmp_path / "none.csv")


def test_a_missing_mask_may_say_that_nobody_looked():
    labels = [{"1": "a", "2": "b"}, {"2": "b"}, None]
    cases = tuple(Case(name=str(n), images=("i",), label=label) for n, label in enumerate(labels))
    dataset = dataset_of("/d", *cases, label_names=NAMES)
    assert [case.labelled for case in with_labelled(dataset, "masks").cases] == [None, (2,), None]
    with pytest.raises(UserFault, match="has no mask for each structure"):
        with_labelled(dataset_of("/d", Case(name="x", images=("i",), label="l")), "masks")


def test_a_datalist_says_it_itself(tmp_path):
    write_datalist(tmp_path, cases=3)
    file = tmp_path / "datalist.json"
    content = json.loads(file.read_text())
    content |= {"labels": {"background": 0, "organ1": 1, "organ2": 2}}
    content["training"][1]["labelled_structures"] = ["organ2"]
    file.write_text(json.dumps(content))
    assert [case.labelled for case in find_dataset(file).cases] == [None, (2,), None, None]
    content["training"][0]["labelled_structures"] = ["organ"]
    file.write_text(json.dumps(content))
    with pytest.raises(UserFault, match="labelled_structures of .* is none of the data set's structures"):
        find_dataset(file)
