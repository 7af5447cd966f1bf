"""H-SAM's recipes, recipes by case name, and recipes over archives."""

import json
from pathlib import Path

import pytest
from dataset_builders import write_la, write_la_h5, write_promise12, write_synapse, write_transunet
from plan_evidence import evidence

from pgsam_monai.base.errors import UserFault
from preprocess.commands.main import main
from preprocess.layouts import Case
from preprocess.plan.plan import make_plan
from preprocess.recipes import PREPARED_IN_ARCHIVES, load_recipe, published_splits, splits_by_recipe

HSAM = ("hsam_synapse", "hsam_synapse_10pct", "hsam_la", "hsam_promise12")
PUBLISHED = {
    "hsam_synapse": ("vit_l", 224, 139, 300, 0.0026),
    "hsam_synapse_10pct": ("vit_b", 512, 14, 300, 0.0025),
    "hsam_la": ("vit_b", 512, 14, 250, 0.0028),
    "hsam_promise12": ("vit_b", 512, 4, 250, 0.0026),
}


def call(*arguments):
    """Exit status of `pgsam-plan` run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def load(path):
    return json.loads(Path(path).read_text())


def decided(bundle):
    """The bare values of a bundle's plan."""
    plan = load(f"bundles/{bundle}/configs/plan.json")
    entries = plan["decisions"] | plan["configurations"]["hsam"]
    return {name: entry["value"] for name, entry in entries.items()}


@pytest.mark.parametrize("name", HSAM)
def test_hsam_settings(name):
    recipe = load_recipe(name)
    assert recipe.networks == ("hsam",)
    own = {key: decision.value for key, decision in recipe.configurations["hsam"].items()}
    numbers = ("backbone", "image_size", "iterations_per_epoch", "epochs", "learning_rate")
    assert tuple(own[key] for key in numbers) == PUBLISHED[name]
    assert own["weights"] == f"sam_{own['backbone']}"
    shared = {
        "batch_size": 16, "warmup_iterations": 250, "poly_power": 0.9, "weight_decay": 0.1, "ce_weight": 0.1,
        "dice_weight": 0.9, "rank": 4, "augmentation": "hsam", "stage_schedule": "paper", "stage_epochs": 300,
        "noise_std": 0.35, "ensemble": "mean", "fit": "stretch", "schedule_epochs": own["epochs"],
        "class_attention_grid": "native", "second_stage_start": "random",
    }  # fmt: skip
    assert {key: own[key] for key in shared} == shared
    few_cases = name in ("hsam_la", "hsam_promise12")
    assert (own["foreground_share"], own["protocol"]) == ((1.0, "mm") if few_cases else (0.0, "papers"))


def test_published_la_and_promise12_splits():
    la, promise = (published_splits(load_recipe(name)) for name in ("hsam_la", "hsam_promise12"))
    assert la.folds[0].training == (
        "06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX", "1GU15S0GJ6PFNARO469W",
    )  # fmt: skip
    assert len(la.test) == 20 and la.folds[0].validation == la.test
    assert la.cases["UPT6DX9IQY9JAZ7HJKA7"] == {
        "image": "Training Set/UPT6DX9IQY9JAZ7HJKA7/lgemri.nrrd",
        "label": "Training Set/UPT6DX9IQY9JAZ7HJKA7/laendo.nrrd",
    }
    assert promise.folds[0].training == ("Case29", "Case14", "Case05")
    assert promise.test[:2] == ("Case16", "Case35") and len(promise.test) == 10
    assert promise.cases["Case05"] == {"image": "Case05.mhd", "label": "Case05_segmentation.mhd"}
    assert la.few_shot is promise.few_shot is None


def test_cases_are_matched_by_name_and_missing_ones_are_named():
    recipe = load_recipe("hsam_la")
    wanted = (*recipe.training, *recipe.test)
    found = [Case(name=name, images=(f"{name}/lgemri.nrrd",), label="l") for name in wanted]
    splits = splits_by_recipe(recipe, found, seed=1, few_shot=None)
    assert splits.folds[0].training == recipe.training and splits.test == recipe.test
    with pytest.raises(UserFault, match="24 published cases by name; 1 are missing .ZQPMJ4"):
        splits_by_recipe(recipe, found[:-1], seed=1, few_shot=None)


def test_a_test_case_of_the_same_number_does_not_take_the_place_of_a_labelled_one():
    recipe = load_recipe("hsam_promise12")
    wanted = (*recipe.training, *recipe.test)
    found = [Case(name=f"Case{n:02d}", images=(f"Case{n:02d}.mhd",), label="l") for n in wanted]
    found += [Case(name="test_Case29", images=("TestData/Case29.mhd",), label=None, group="test")]
    splits = splits_by_recipe(recipe, found, seed=1, few_shot=None)
    assert splits.cases["Case29"]["label"] == "l" and "test_Case29" not in splits.cases


def test_settings_that_archives_have_settled_are_left_to_the_rules():
    recipe = load_recipe("samed_synapse")
    assert recipe.published("archive").keys() == recipe.decisions.keys() - set(PREPARED_IN_ARCHIVES)
    assert recipe.published(None).keys() == recipe.decisions.keys() | recipe.unmeasured.keys()
    facts = evidence(file_format="archive", orientations={"": 10}, image_range=(0.0, 1.0))
    plan = make_plan(facts, dataset={"name": "x", "folder": "/data/x"}, recipe=recipe)
    assert plan.value("labels") == sorted([0, *facts.labels])
    assert (plan.value("intensity"), plan.value("slice_axis")) == ({"scheme": "none"}, "none")
    assert plan.value("image_size", "samed") == 512


@pytest.mark.parametrize("form", ["nrrd", "h5"])
def test_la_planned_from_either_form(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("hsam_la")
    if form == "nrrd":
        folder = write_la(tmp_path / "LA", names=(*recipe.training, *recipe.test))
    else:
        folder = write_la_h5(tmp_path / "LA", names=recipe.training, test=recipe.test)
    assert call(folder, "--recipe", "hsam_la", "--workers", 1) == 0
    values = decided("hsam_la")
    assert values["labels"] == ([0, 255] if form == "nrrd" else [0, 1])
    assert values["label_names"] == ["background", "left atrium"]
    assert (values["modality"], values["intensity"]["scheme"]) == ("MR", "percentile")
    assert values["slice_axis"] == ("axial" if form == "nrrd" else "none")
    assert values["class_frequencies"] is None
    splits = load("bundles/hsam_la/configs/splits.json")
    assert splits["folds"][0]["training"] == list(recipe.training) and splits["test"] == list(recipe.test)
    assert splits["cases"]["06SR5RBREL16DQ6M8LWS"]["label"].endswith(
        "laendo.nrrd" if form == "nrrd" else "@images"
    )


def test_promise12_planned_from_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("hsam_promise12")
    numbers = sorted((*recipe.training, *recipe.test))
    folder = write_promise12(tmp_path / "PROMISE12", cases=numbers, parts=True, test=30)
    assert call(folder, "--recipe", "hsam_promise12", "--workers", 1) == 0
    splits = load("bundles/hsam_promise12/configs/splits.json")
    assert splits["folds"][0]["training"] == ["Case29", "Case14", "Case05"]
    assert splits["cases"]["Case29"]["label"] == "TrainingData_Part2/Case29_segmentation.mhd"
    assert decided("hsam_promise12")["label_names"] == ["background", "prostate"]


def test_missing_cases_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = write_la(tmp_path / "LA")
    assert call(folder, "--recipe", "hsam_la", "--workers", 1) == 1
    assert "24 are missing (06SR5RBREL16DQ6M8LWS, " in " ".join(capsys.readouterr().err.split())


def test_transunets_archives_follow_the_synapse_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_transunet(tmp_path / "Synapse", cases=39, test=1, lists=False, shape=(12, 10, 4))
    assert call(folder, "--recipe", "hsam_synapse", "--workers", 1) == 0
    values = decided("hsam_synapse")
    assert (values["labels"], values["intensity"]) == ([0, 1, 2], {"scheme": "none"})
    assert (values["backbone"], values["orientation"]) == ("vit_l", "")
    write_synapse(tmp_path / "scans", cases=40, shape=(12, 10, 4))
    assert call(tmp_path / "scans", "--recipe", "hsam_synapse", "--workers", 1) == 0
    assert decided("hsam_synapse")["labels"] == [0, 1, 2, 3, 4, 6, 7, 8, 11]
