import json

import pytest
from dataset_builders import write_msd
from tiny_bundle import plan_tiny

from preprocess.bundle import bundle_values, decided, emit_bundle, fill
from preprocess.transforms import augmentation_transforms, cleaning_transforms, preprocessing_transforms

VALUES = {
    "orientation": "PLS",
    "intensity": {"scheme": "window", "low": -100.0, "high": 240.0},
    "labels": [0, 5, 205],
    "postprocessing": {"largest_component": [205]},
}


def targets(compose):
    return [transform["_target_"].split(".")[-1] for transform in compose["transforms"]]


def test_fill_replaces_whole_strings_only():
    template = {"a": "{{n}}", "b": ["x {{n}}", {"c": "{{list}}"}], "d": "$@n + 1"}
    assert fill(template, {"n": 3, "list": [1]}) == {"a": 3, "b": ["x {{n}}", {"c": [1]}], "d": "$@n + 1"}
    with pytest.raises(KeyError, match="missing"):
        fill("{{missing}}", {})


def test_preprocessing_follows_the_plan():
    window = preprocessing_transforms(VALUES)
    assert targets(window) == [
        "ReadCased",
        "Orientationd",
        "ScaleIntensityRanged",
        "MapLabelsd",
        "CastToTyped",
    ]
    assert (window["transforms"][2]["a_min"], window["transforms"][2]["a_max"]) == (-100.0, 240.0)
    picture = preprocessing_transforms({**VALUES, "orientation": "", "intensity": {"scheme": "unit8"}})
    assert targets(picture) == ["ReadCased", "ScaleIntensityRanged", "MapLabelsd", "CastToTyped"]
    assert picture["transforms"][1]["a_max"] == 255
    mr = {**VALUES, "intensity": {"scheme": "percentile", "low": 0.5, "high": 99.5}}
    assert "ScalePercentilesd" in targets(preprocessing_transforms(mr))
    archive = preprocessing_transforms({**VALUES, "orientation": "", "intensity": {"scheme": "none"}})
    assert targets(archive) == ["ReadCased", "MapLabelsd", "CastToTyped"]


def test_cleaning_names_classes_by_index():
    assert cleaning_transforms(VALUES)["transforms"][0]["applied_labels"] == [2]
    assert cleaning_transforms({**VALUES, "postprocessing": {}})["transforms"] == []


@pytest.mark.parametrize("name", ["papers", "default", "none"])
def test_labels_are_never_interpolated(name):
    for transform in augmentation_transforms(name)["transforms"]:
        if "mode" in transform:
            assert transform["mode"] == ["bilinear", "nearest"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("emit")
    bundle = plan_tiny(write_msd(work / "Task02_Heart", cases=5), work)
    plan, splits = (json.loads((bundle / f"configs/{name}.json").read_text()) for name in ("plan", "splits"))
    return bundle, plan, splits


def test_emission_is_repeatable_and_spares_models(planned, tmp_path):
    _, plan, splits = planned
    folder = emit_bundle(plan, splits, "samed", tmp_path / "b")
    (folder / "models").mkdir()
    (folder / "models/model.pt").write_bytes(b"trained")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    emit_bundle(plan, splits, "samed", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_edited_config_is_kept_beside_the_new_one(planned, tmp_path):
    _, plan, splits = planned
    folder = emit_bundle(plan, splits, "samed", tmp_path / "b")
    config = folder / "configs/train.json"
    config.write_text(config.read_text().replace('"fold": 0', '"fold": 1'))
    emit_bundle(plan, splits, "samed", folder)
    assert '"fold": 0' in config.read_text()
    assert '"fold": 1' in (folder / "configs/train.json.bak").read_text()


def test_plan_values_reach_the_network(planned):
    _, plan, _ = planned
    values = bundle_values(plan, "samed")
    assert values["network_def"]["backbone"] == decided(plan, "samed")["backbone"] == "vit_tiny"
    assert values["label_values"] == dict(
        zip(decided(plan, "samed")["label_names"][1:], decided(plan, "samed")["labels"][1:], strict=True)
    )
    assert values["schedule_epochs"] == "@epochs"
