"""Med-SA's recipes: merged labels, ranges of cases, published validation cases."""

from __future__ import annotations

import json

from dataset_builders import write_synapse
from picture_builders import write_refuge
from plan_evidence import evidence, label_summary
from tiny_bundle import plan_tiny, run_bundle

from preprocess.bundle.emit import bundle_files
from preprocess.layouts import Case, find_dataset
from preprocess.plan.overrides import make_override
from preprocess.plan.plan import make_plan
from preprocess.recipes import load_recipe, published_splits, splits_by_recipe

BTCV_CASES = (*range(1, 11), *range(21, 41))


def own(name):
    return {key: decision.value for key, decision in load_recipe(name).configurations["medsa"].items()}


def test_published_settings():
    shared = {
        "backbone": "vit_h", "weights": "sam_vit_h", "encoder_training": "adapters", "rank": 64, "scale": 0.05,
        "hyper_prompt": "hyper", "depth_fusion": "add", "learning_rate": 0.0001, "poly_power": 0.0,
    }  # fmt: skip
    for name, numbers in {"medsa_btcv": (512, 4, 60, 4), "medsa_2d": (1024, 1, 40, 8)}.items():
        settings = own(name)
        assert {key: settings[key] for key in shared} == shared
        assert tuple(settings[k] for k in ("image_size", "stack_depth", "epochs", "batch_size")) == numbers
    assert load_recipe("medsa_btcv").decisions["intensity"].value == {
        "scheme": "window", "low": -175.0, "high": 250.0,
    }  # fmt: skip


def test_btcv_splits_and_labels():
    recipe = load_recipe("medsa_btcv")
    splits = published_splits(recipe)
    assert len(splits.folds[0].training) == 24 and splits.test == tuple(f"{n:04d}" for n in range(35, 41))
    assert not set(splits.folds[0].training) & set(splits.test)
    assert sorted({*recipe.training, *recipe.test}) == sorted(BTCV_CASES)
    labels, names = (recipe.decisions[name].value for name in ("labels", "label_names"))
    assert len(labels) == len(names) == 13
    assert (labels[-1], names[-1]) == ([12, 13], "adrenal glands")


def test_refuge_ranges_patterns_and_validation_cases():
    recipe = load_recipe("medsa_2d")
    assert [len(part) for part in (recipe.training, recipe.validation, recipe.test)] == [400, 400, 400]
    assert (recipe.training[0], recipe.training[40], recipe.training[-1]) == ("g0001", "n0001", "n0360")
    splits = published_splits(recipe)
    assert splits.folds[0].validation == recipe.validation and splits.test == recipe.test
    assert splits.cases["n0007"]["image"] == "Training400/Non-Glaucoma/n0007.jpg"
    assert splits.cases["V0400"]["label"] == "REFUGE-Validation400-GT/Disc_Cup_Masks/V0400.bmp"


def test_refuge_is_found_in_the_folders_that_the_recipe_names(tmp_path):
    """A small copy as the challenge lays it out: the layout's files are the recipe's, but for the sorted test masks."""
    dataset = find_dataset(write_refuge(tmp_path, cases=2, validation=1, test=1))
    splits = published_splits(load_recipe("medsa_2d"))
    for case in dataset.cases:
        assert case.images[0] == splits.cases[case.name]["image"]
        assert case.group == "test" or case.label == splits.cases[case.name]["label"]
    names = load_recipe("medsa_2d")
    wanted = {*names.training, *names.validation, *names.test}
    cases = [Case(name=name, images=(f"{name}.jpg",), label=f"{name}.bmp") for name in sorted(wanted)]
    found = splits_by_recipe(names, cases, seed=1, few_shot=None)
    assert found.folds[0].validation == names.validation and len(found.cases) == 1200


def test_merged_labels_follow_through_the_plan():
    three = {
        1: label_summary(in_plane_mm=80.0), 2: label_summary(in_plane_mm=9.0, frequency=0.002),
        3: label_summary(in_plane_mm=8.0, frequency=0.001),
    }  # fmt: skip
    facts = evidence(
        labels=three, label_names={0: "background", 1: "liver", 2: "right", 3: "left"},
        cases={f"case{n}": (1, 2, 3) for n in range(10)}, single_component_cases={1: 10, 2: 10, 3: 10},
    )  # fmt: skip
    wish = make_override("labels", [0, 1, [2, 3]])
    header = {
        "name": "x", "folder": "/x", "layout": "msd", "file_format": "volume", "channels": ["CT"],
        "num_cases": 10, "skipped": [],
    }  # fmt: skip
    cut = make_override("postprocessing", {"largest_component": [1]})
    plan = make_plan(facts, dataset=header, overrides=[wish, cut])
    assert plan.value("label_names") == ["background", "liver", "right"]
    assert plan.value("class_frequencies")[1:] == [0.01, 0.003]
    assert "The smallest structure, right," in plan.configurations["samed"]["image_size"].reason
    files = bundle_files(plan.to_json(), {}, "samed")
    metadata = json.loads(files["configs/metadata.json"])
    assert metadata["label_classes"] == "0 = background, 1 = liver, 2 + 3 = right"
    assert "| 2 + 3 | right | 2 |" in files["docs/README.md"]
    train = json.loads(files["configs/train.json"])
    assert (train["labels"], train["num_classes"]) == ([0, 1, [2, 3]], 2)
    assert train["validate"]["postprocessing"]["largest"] == [1]


def test_btcv_12_trains_and_is_measured_with_both_adrenal_glands_as_one(tmp_path):
    scans = write_synapse(tmp_path / "BTCV", cases=40, shape=(29, 12, 6), values=range(14))
    tiny = ("backbone=vit_tiny", "weights=null", "encoder_training=full", "stack_depth=3", "rank=4")
    bundle = plan_tiny(scans, tmp_path, *tiny, recipe="medsa_btcv", networks="medsa", workers=1)
    splits = json.loads((bundle / "configs/splits.json").read_text())
    assert len(splits["folds"][0]["training"]) == 24 and len(splits["test"]) == 6
    run_bundle("training", bundle)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), part="test")
    rows = json.loads((bundle / "eval/test/metrics.json").read_text())["cases"][0]["classes"]
    assert len(rows) == 12 and (rows[-1]["label"], rows[-1]["value"]) == ("adrenal glands", 12)
    assert rows[-1]["reference_ml"] > 1.5 * rows[-2]["reference_ml"] > 0  # two glands, one pancreas
