"""RefSAM3D's recipes: published settings, and cases that are drawn where no lists are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dataset_builders import write_paired
from plan_evidence import GPU, evidence, label_summary

from pgsam_monai.base.errors import UserFault
from preprocess.commands.main import main
from preprocess.layouts import Case
from preprocess.plan.kinds import KINDS
from preprocess.plan.plan import make_plan
from preprocess.recipes import load_recipe, published_splits, recipe_names, splits_by_recipe

DRAWN = {
    "refsam3d_kits21": (209, 30, 61),
    "refsam3d_msd_pancreas": (196, 28, 57),
    "refsam3d_lits": (83, 11, 24),
    "refsam3d_msd_colon": (89, 11, 26),
    "refsam3d_mmwhs": (14, 2, 4),
}
WINDOWS = {
    "refsam3d_btcv": (-200, 250),
    "refsam3d_kits21": (-54, 247),
    "refsam3d_msd_pancreas": (-39, 204),
    "refsam3d_lits": (-48, 163),
    "refsam3d_msd_colon": (-57, 175),
}
LABELS = {
    "refsam3d_kits21": [0, 2],
    "refsam3d_msd_pancreas": [0, [1, 2]],
    "refsam3d_lits": [0, 2],
    "refsam3d_msd_colon": [0, 1],
    "refsam3d_mmwhs": [0, 420, 500, 550, 600, 820],
}


def call(*arguments):
    """Exit status of `pgsam-plan` run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def own(name):
    return {key: decision.value for key, decision in load_recipe(name).configurations["refsam3d"].items()}


def found(count, *, group="train"):
    return [
        Case(name=f"c{n}", images=(f"c{n}.nii.gz",), label=f"l{n}.nii.gz", group=group) for n in range(count)
    ]


@pytest.mark.parametrize("name", ["refsam3d_btcv", *DRAWN])
def test_published_settings(name):
    recipe, settings = load_recipe(name), own(name)
    assert recipe.networks == ("refsam3d",) and recipe.few_shot is None
    shared = {
        "backbone": "vit_b", "weights": "sam_vit_b", "encoder_training": "adapters", "patch": [128, 128, 128],
        "token_size": [4, 4, 4], "clip_model": "ViT-B-32-quickgelu", "clip_weights": "openai",
        "clip_training": "frozen", "batch_size": 1, "epochs": 200, "learning_rate": 0.0001, "weight_decay": 1e-05,
        "poly_power": 1.0, "augmentation": "papers", "ce_weight": 1.0, "dice_weight": 1.0, "checkpointing": True,
        "referring_share": 0.25, "foreground_share": 0.5, "overlap": 0.5,
    }  # fmt: skip
    assert {key: settings[key] for key in shared} == shared
    assert recipe.decisions["spacing"].value == [1.0, 1.0, 1.0]
    window = recipe.decisions["intensity"].value if "intensity" in recipe.decisions else None
    assert window == (
        {"scheme": "window", "low": WINDOWS[name][0], "high": WINDOWS[name][1]} if name in WINDOWS else None
    )
    for entries in (recipe.decisions, recipe.configurations["refsam3d"]):
        for key, decision in entries.items():
            assert key == "folds" or KINDS[key].fits(decision.value), key
            assert decision.reason.endswith("."), key


def test_btcv_is_medsas_split_and_labels():
    splits, recipe = published_splits(load_recipe("refsam3d_btcv")), load_recipe("refsam3d_btcv")
    assert splits.folds == published_splits(load_recipe("medsa_btcv")).folds and len(splits.test) == 6
    assert recipe.decisions["labels"].value[-1] == [12, 13]
    assert own("refsam3d_btcv")["model_selection"] == "last"


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_sizes_and_labels(name):
    recipe, sizes = load_recipe(name), DRAWN[name]
    assert (recipe.draw.training, recipe.draw.validation, recipe.draw.test) == sizes
    labels, names = recipe.decisions["labels"].value, recipe.decisions["label_names"].value
    assert labels == LABELS[name] and len(names) == len(labels)
    value = labels[-1][0] if isinstance(labels[-1], list) else labels[-1]
    cases = found(sum(sizes) + 5)
    labelled = {case.name: (value,) for case in cases}
    splits = splits_by_recipe(recipe, cases, seed=123, few_shot=None, labels=labelled)
    (fold,) = splits.folds
    assert (len(fold.training), len(fold.validation), len(splits.test)) == sizes
    parts = [*fold.training, *fold.validation, *splits.test]
    assert len(set(parts)) == sum(sizes) and set(parts) == set(splits.cases)
    assert splits.cases[parts[0]]["labels"] == [value]
    assert "drawn by this file's seed" in splits.note
    assert ("--tolerance_mm 5" in splits.note) == (name != "refsam3d_mmwhs")


def test_the_draw_is_the_seeds_and_the_names_alone():
    recipe, cases = load_recipe("refsam3d_mmwhs"), found(25)
    first = splits_by_recipe(recipe, cases, seed=1, few_shot=None)
    again = splits_by_recipe(recipe, cases[::-1], seed=1, few_shot=None)
    assert [set(part) for part in (first.folds[0].training, first.test)] == [
        set(part) for part in (again.folds[0].training, again.test)
    ]
    assert splits_by_recipe(recipe, cases, seed=2, few_shot=None).test != first.test
    few = splits_by_recipe(recipe, cases, seed=1, few_shot="3")
    assert set(few.folds[0].training) < set(first.folds[0].training) and len(few.folds[0].training) == 3
    assert few.test == first.test


def test_cases_without_the_structure_are_left_out():
    recipe, cases = load_recipe("refsam3d_lits"), found(131)
    labels = {case.name: (1, 2) if number >= 13 else (1,) for number, case in enumerate(cases)}
    splits = splits_by_recipe(recipe, cases, seed=123, few_shot=None, labels=labels)
    assert set(splits.cases) == {case.name for case in cases[13:]}  # 118 = 83 + 11 + 24
    with pytest.raises(UserFault, match="cases that hold liver tumor; this data set has 117 of the 118"):
        splits_by_recipe(recipe, cases, seed=123, few_shot=None, labels=labels | {"c130": (1,)})


def test_test_cases_and_unlabelled_ones_are_not_drawn():
    recipe = load_recipe("refsam3d_mmwhs")
    bare = [Case(name="x", images=("x.nii.gz",), label=None)]
    with pytest.raises(UserFault, match="14 training, 2 validation and 4 test cases .* has 19 of the 20"):
        splits_by_recipe(recipe, [*found(19), *bare, *found(40, group="test")[30:]], seed=1, few_shot=None)


@pytest.mark.parametrize("name", DRAWN)
def test_without_data_nothing_can_be_drawn(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("--recipe", name) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"--recipe {name} draws its {sum(DRAWN[name])} cases" in said and f"--recipe {name}, with" in said
    assert not Path("bundles").exists()


def test_what_a_drawn_recipe_leaves_open_is_planned_from_the_data():
    facts = evidence(
        machine=GPU, labels={420: label_summary(), 500: label_summary()}, label_names=None,
        cases={f"case{n}": (420, 500) for n in range(10)}, single_component_cases={},
    )  # fmt: skip
    made = make_plan(
        facts,
        dataset={"name": "x", "folder": "/data/x"},
        networks=("refsam3d",),
        recipe=load_recipe("refsam3d_mmwhs"),
    )
    assert made.decisions["intensity"].source == "rule" and made.value("intensity")["scheme"] == "window"
    assert made.value("class_frequencies")[1:] == [0.01, 0.01, 0.0, 0.0, 0.0]
    assert made.value("memory_gb") == 24 and made.value("patch", "refsam3d") == [128, 128, 128]
    assert "knows 6 of 6 names" in made.decisions["texts"].reason


def test_mmwhs_planned_from_its_scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_paired(
        tmp_path / "ct_train", cases=20, image="ct_train_10{:02d}_image.nii.gz",
        label="ct_train_10{:02d}_label.nii.gz", values=(0, 205, 420, 500, 550, 600, 820, 850), shape=(20, 12, 8),
    )  # fmt: skip
    assert call(folder, "--recipe", "refsam3d_mmwhs", "--workers", 1) == 0
    bundle = Path("bundles/refsam3d_mmwhs/configs")
    splits, train = (json.loads((bundle / f"{name}.json").read_text()) for name in ("splits", "train"))
    assert [len(splits["folds"][0][part]) for part in ("training", "validation")] == [14, 2]
    assert len(splits["test"]) == 4 and splits["note"].startswith("14 training")
    assert train["labels"] == [0, 420, 500, 550, 600, 820] and train["num_classes"] == 5
    assert train["patch"] == [128, 128, 128]


def test_the_help_and_the_folder_name_the_same_recipes(capsys):
    assert call("--help") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in recipe_names() if name != "samed_synapse_10pct") and "auto" in said
