import json

import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny

from preprocess.bundle.emit import bundle_files, bundle_values, decided, emit_bundle, fill
from preprocess.bundle.transforms import (
    augmentation_transforms,
    cleaning_transform,
    preprocessing_transforms,
)

PARTS = ["prior_aligner", "feature_fusion", "mask_optimizer"]
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
    assert fill({"a": 1, "{{more}}": "{{more}}", "z": 2}, {"more": {"b": [3]}}) == {"a": 1, "b": [3], "z": 2}
    assert fill({"a": 1, "{{more}}": "{{more}}"}, {"more": {}}) == {"a": 1}


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


def test_cleaning_names_classes_that_there_are():
    assert cleaning_transform(VALUES)["largest"] == [205]
    assert cleaning_transform({**VALUES, "postprocessing": {"largest_component": [9]}})["largest"] == []


@pytest.mark.parametrize("name", ["papers", "default", "hsam", "none"])
def test_labels_are_never_interpolated(name):
    from monai.bundle import ConfigParser

    parser = ConfigParser({"augmentation": augmentation_transforms(name, 32)})
    augmentation = parser.get_parsed_content("augmentation")
    ramp = torch.arange(32.0).expand(1, 32, 32)
    for seed in range(12):
        augmentation.set_random_state(seed=seed)
        label = torch.as_tensor(augmentation({"image": ramp, "label": 5 * (ramp > 20).float()})["label"])
        assert label.shape == (1, 32, 32) and set(label.unique().tolist()) <= {0.0, 5.0}


def test_sameds_slices_are_flipped_or_rotated_or_left_alone_never_two_of_these():
    """A flip with quarter turns mirrors: 4 pictures, of which none is the slice itself; alike for image and label."""
    from monai.bundle import ConfigParser

    parser = ConfigParser({"augmentation": augmentation_transforms("papers", 32)})
    augmentation = parser.get_parsed_content("augmentation")
    image = torch.arange(1024.0).reshape(1, 32, 32) + 1
    mirrored = [torch.rot90(image, k, (1, 2)).flip(1) for k in range(4)]
    seen = {"left alone": 0, "mirrored": 0, "rotated": 0}
    for seed in range(200):
        augmentation.set_random_state(seed=seed)
        made = augmentation({"image": image, "label": image})
        got = torch.as_tensor(made["image"])
        assert torch.equal(got, torch.as_tensor(made["label"]))
        if torch.equal(got, image):
            seen["left alone"] += 1
        elif any(torch.equal(got, other) for other in mirrored):
            seen["mirrored"] += 1
        else:  # to the nearest pixel, what comes from outside is 0
            assert set(got.unique().tolist()) <= {0.0, *image.unique().tolist()}
            seen["rotated"] += 1
    assert abs(seen["mirrored"] - 100) < 25 and abs(seen["rotated"] - 50) < 20


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("emit")
    bundle = plan_tiny(write_msd(work / "Task02_Heart", cases=5), work, networks="samed,pgsam")
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


def test_facts_go_with_what_was_measured(planned, tmp_path):
    bundle, plan, splits = planned
    facts = json.loads((bundle / "configs/training_facts.json").read_text())
    assert facts["cases"] == 5 and all(each["millilitres"] for each in facts["structures"].values())
    folder = emit_bundle(plan, splits, "samed", tmp_path / "b", facts)
    file = folder / "configs/training_facts.json"
    assert file.read_bytes() == (bundle / "configs/training_facts.json").read_bytes()
    emit_bundle(plan, splits, "samed", folder)  # planned again without data: these facts are another plan's
    assert not file.exists() and file.with_name("training_facts.json.bak").is_file()


def test_an_edited_config_is_kept_beside_the_new_one(planned, tmp_path):
    _, plan, splits = planned
    folder = emit_bundle(plan, splits, "samed", tmp_path / "b")
    config = folder / "configs/train.json"
    config.write_text(config.read_text().replace('"fold": 0', '"fold": 1'))
    emit_bundle(plan, splits, "samed", folder)
    assert '"fold": 0' in config.read_text()
    assert '"fold": 1' in (folder / "configs/train.json.bak").read_text()


def test_edited_texts_are_kept_beside_the_new_ones(planned, tmp_path):
    _, plan, splits = planned
    folder = emit_bundle(plan, splits, "pgsam", tmp_path / "b")
    texts = folder / "configs/texts.json"
    planned_text = texts.read_text()
    texts.write_text('{"background": "mine"}')
    emit_bundle(plan, splits, "pgsam", folder)
    assert texts.read_text() == planned_text
    assert (folder / "configs/texts.json.bak").read_text() == '{"background": "mine"}'


def test_a_network_that_reads_text_gets_texts_overlays_and_its_package(planned):
    bundle, plan, splits = planned
    plain, reader = (bundle_files(plan, splits, network) for network in ("samed", "pgsam"))
    texts = json.loads(reader["configs/texts.json"])
    assert list(texts) == decided(plan, "pgsam")["label_names"]
    overlays = {f"configs/ablation_{row}.json" for row in ("1_baseline", "2_aligner", "3_fusion", "4_full")}
    assert set(reader) - set(plain) == {"configs/texts.json", *overlays}
    for row, parts in enumerate(([], PARTS[:1], PARTS[:2], PARTS), start=1):
        (name,) = (name for name in overlays if f"ablation_{row}" in name)
        assert json.loads(reader[name]) == {f"network_def#{part}": part in parts for part in PARTS}
    packages = (
        json.loads(files["configs/metadata.json"])["required_packages_version"] for files in (plain, reader)
    )
    assert [("open_clip_torch" in package) for package in packages] == [False, True]
    train, inference, evaluate = (
        json.loads(reader[f"configs/{name}.json"]) for name in ("train", "inference", "evaluate")
    )
    assert train["clip_weights"] == decided(plan, "pgsam")["clip_weights"]
    assert inference["clip_weights"] is None and evaluate["clip_weights"] is None
    assert "clip_weights" not in json.loads(plain["configs/train.json"])
    readme = reader["docs/README.md"]
    for said in (*texts.values(), "ablation_3_fusion.json", "pgsam describe", "--clip_weights"):
        assert said in readme, said
    assert "## Texts" not in plain["docs/README.md"]


def test_plan_values_reach_the_network(planned):
    _, plan, _ = planned
    values = bundle_values(plan, "samed")
    assert values["network_def"]["backbone"] == decided(plan, "samed")["backbone"] == "vit_tiny"
    assert values["label_values"] == dict(
        zip(decided(plan, "samed")["label_names"][1:], decided(plan, "samed")["labels"][1:], strict=True)
    )
    assert values["schedule_epochs"] == "@epochs"
