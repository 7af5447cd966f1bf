"""Published lists of slices: read, carried to how a copy of the data is stored and planned, or refused."""

import json
from pathlib import Path

import pytest
from dataset_builders import write_synapse

from pgsam_monai.base.errors import UserFault
from preprocess.commands.main import main
from preprocess.fingerprint.facts import CaseFacts
from preprocess.recipes import load_recipe, published_splits
from preprocess.recipes.slice_lists import SliceList, planned_slices, with_listed_slices
from preprocess.splits.records import Fold, Splits

LISTED = SliceList(source="a list", slices={5: (0, 2), 6: (1,)})


def stored(name="case0005", code="LAS", depth=4):
    return CaseFacts(name=name, group="train", shape=(8, 9, depth), orientation=code)


def splits(*names):
    cases = {name: {"image": f"{name}.nii.gz", "label": "l"} for name in (*names, "case0001")}
    fold = Fold(training=names, validation=("case0001",))
    return Splits(seed=1, few_shot=None, cases=cases, folds=(fold,), test=("case0001",), note="Published.")


def test_hsams_list_has_221_slices_of_the_18_training_cases():
    recipe = load_recipe("hsam_synapse_10pct")
    assert tuple(recipe.slices.slices) == recipe.training
    assert sum(map(len, recipe.slices.slices.values())) == 221
    assert all(len(set(indices)) == len(indices) for indices in recipe.slices.slices.values())
    assert (
        78 in recipe.slices.slices[10] and 116 in recipe.slices.slices[5]
    )  # case0010_slice078, case0005_slice116
    assert (
        load_recipe("samed_synapse_10pct").slices
        == load_recipe("pgsam_synapse_10pct").slices
        == recipe.slices
    )
    assert load_recipe("hsam_la").slices is load_recipe("hsam_synapse").slices is None


@pytest.mark.parametrize(
    ("code", "planned", "expected"),
    [("LAS", "PLS", [0, 2]), ("RPI", "PLS", [3, 1]), ("LAS", "PLI", [3, 1]), ("", "", [0, 2])],
)
def test_indices_follow_the_files_third_axis(code, planned, expected):
    assert planned_slices((0, 2), stored(code=code), planned) == expected


def test_a_case_of_other_slices_is_a_sentence():
    with pytest.raises(UserFault, match="'case0005' has 2 slices, and the recipe's list names its slice 2"):
        planned_slices((0, 2), stored(depth=2), "PLS")
    with pytest.raises(UserFault, match="stored as SLA, and slices are taken along the last axis of PLS"):
        planned_slices((0, 2), stored(code="SLA"), "PLS")


def test_training_cases_alone_have_listed_slices_each_by_its_own_geometry():
    facts = [stored(), stored("case0006", "LAI"), stored("case0001")]
    made = with_listed_slices(splits("case0005", "case0006"), LISTED, facts=facts, orientation="PLS")
    assert {name: entry.get("slices") for name, entry in made.cases.items()} == {
        "case0005": [0, 2], "case0006": [2], "case0001": None,
    }  # fmt: skip
    assert made.note == "Published. Of the training cases these slices alone train: a list."
    assert "stored from the feet to the head" in with_listed_slices(splits("case0005"), LISTED).note


def test_without_data_the_recipe_names_its_slices_unless_few_cases_are_wished_for():
    recipe = load_recipe("samed_synapse_10pct")
    published = published_splits(recipe)
    assert (
        published.cases["0010"]["slices"] == sorted(recipe.slices.slices[10]) and published.few_shot is None
    )
    assert sum(len(entry.get("slices", ())) for entry in published.cases.values()) == 221
    drawn = published_splits(recipe, few_shot="slices:10%")
    assert drawn.few_shot["spec"] == "slices:10%" and "slices" not in drawn.cases["0010"]


def test_planned_with_data_they_reach_training_and_a_wish_stands_in_for_them(tmp_path, monkeypatch, capsys):
    from pgsam_monai.data.splits import read_few_slices, select_cases

    monkeypatch.chdir(tmp_path)
    write_synapse(tmp_path / "scans", cases=40, shape=(6, 6, 180))
    options = ["scans", "--recipe", "samed_synapse_10pct", "--workers", "1"]
    file = Path("bundles/samed_synapse_10pct/configs/splits.json")
    main(options)
    training = {case["name"]: case["slices"] for case in select_cases(file, "scans")}
    listed = load_recipe("samed_synapse_10pct").slices.slices
    assert training == {f"case{number:04d}": sorted(indices) for number, indices in listed.items()}
    assert all("slices" not in case for case in select_cases(file, "scans", part="validation"))
    assert read_few_slices(file) is None
    main([*options, "--few_shot", "3"])
    record = json.loads(file.read_text())
    assert len(record["folds"][0]["training"]) == 3
    assert not any("slices" in entry for entry in record["cases"].values())
