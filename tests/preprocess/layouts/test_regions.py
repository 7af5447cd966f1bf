"""nnU-Net's regions become exclusive classes to train, and stay what is scored."""

import json

import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import describe_dataset, find_dataset
from preprocess.layouts.labelled import values_looked_for
from preprocess.layouts.regions import names_and_regions, region_fault

TUMOUR = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (TUMOUR, {"background": 0, "whole without core": 1, "core without enhancing": 2, "enhancing": 3}),
        ({"all": [1, 2, 3], "tumour": [2], "cyst": [3]}, {"all without tumour and cyst": 1, "tumour": 2, "cyst": 3}),
        ({"lung": [1, 2]}, {"lung (value 1)": 1, "lung (value 2)": 2}),
        ({"a": [1, 2], "b": [2, 3]}, {"a (value 1)": 1, "a (value 2)": 2, "b (value 3)": 3}),
        ({"background": 0, "a": [4], "ignore": 9}, {"background": 0, "a": 4, "ignore": 9}),
    ],
)  # fmt: skip
def test_a_value_is_called_by_the_smallest_region_that_holds_it(labels, names):
    made, regions = names_and_regions(labels, "dataset.json")
    assert made == names
    assert regions == {
        name: tuple(value) if isinstance(value, list) else (value,)
        for name, value in labels.items()
        if name not in ("background", "ignore")
    }


def test_labels_without_lists_have_no_regions():
    assert names_and_regions({"background": 0, "a": 1}, "x") == ({"background": 0, "a": 1}, None)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"a": []}, "region 'a' must list different whole numbers"),
        ({"a": [1, 1]}, "different whole numbers"),
        ({"a": [1, "2"]}, "different whole numbers"),
        ({"a": [True]}, "different whole numbers"),
        ({"a": [-1]}, "different whole numbers"),
        ({"a": [0, 1]}, "region 'a' holds the value 0 of 'background'"),
        ({"a": [1, 2], "ignore": 2}, "holds the value 2 of 'ignore'"),
        ({"a": [1, 2], "b": [2, 1]}, "'a' and 'b' have the same values"),
    ],
)
def test_what_can_be_no_region_is_a_sentence(tmp_path, labels, words):
    folder = write_nnunet(tmp_path / "data")
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(UserFault, match=f"dataset.json: .*{words}"):
        find_dataset(folder)


def test_classes_must_not_reach_over_the_edge_of_a_region():
    assert region_fault({"core": [2, 3]}, [(0,), (1,), (2, 3)]) is None
    assert "values [1, 2] lies partly in region 'core' [2, 3]" in region_fault(
        {"core": [2, 3]}, [(0,), (1, 2), (3,)]
    )


def test_regions_can_be_what_was_looked_for():
    names, regions = names_and_regions(TUMOUR, "x")
    assert values_looked_for(["Core"], names, who="x", regions=regions) == (2, 3)


def test_they_are_scored_and_their_values_trained(tmp_path):
    folder = write_nnunet(tmp_path / "data", cases=3)
    listing = json.loads((folder / "dataset.json").read_text())
    labels = {"background": 0, "organ": [1, 2], "part": 2}
    (folder / "dataset.json").write_text(
        json.dumps(listing | {"labels": labels, "regions_class_order": [1, 2]})
    )
    assert "regions   organ [1, 2], part [2]" in describe_dataset(find_dataset(folder))
    bundle = plan_tiny(folder, tmp_path)
    plan, evaluate = (
        json.loads((bundle / "configs" / f).read_text()) for f in ("plan.json", "evaluate.json")
    )
    assert plan["dataset"]["regions"] == {"organ": [1, 2], "part": [2]}
    assert plan["decisions"]["label_names"]["value"] == ["background", "organ without part", "part"]
    assert evaluate["label_values"] == {"organ": [1, 2], "part": [2]}
    with pytest.raises(SystemExit):
        plan_tiny(folder, tmp_path / "merged", "labels=[[0,1],2]")
