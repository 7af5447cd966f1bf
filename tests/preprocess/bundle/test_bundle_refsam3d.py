"""What of RefSAM3D's plan reaches its bundle, and no other's."""

from __future__ import annotations

import json

import pytest
from plan_evidence import evidence

from preprocess.bundle.emit import bundle_files
from preprocess.plan.overrides import parse_overrides
from preprocess.plan.plan import make_plan
from preprocess.plan.records import Plan, with_later
from preprocess.recipes import load_recipe, published_splits
from preprocess.report import make_report

HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip
CUBIC = {"spacings": ((1.0, 1.0, 1.0),) * 10, "shapes": ((400, 400, 300),) * 10}


def plan(*networks, **options):
    return make_plan(evidence(**CUBIC), dataset=HEADER, networks=networks, **options)


@pytest.fixture(scope="module")
def files():
    """The bundles of both networks of one plan."""
    record = plan("refsam3d", "samed").to_json()
    return {network: bundle_files(record, {}, network) for network in ("refsam3d", "samed")}


def config(files, network, name):
    return json.loads(files[network][f"configs/{name}.json"])


def test_its_bundle_trains_and_predicts_on_patches(files):
    train, inference = (config(files, "refsam3d", name) for name in ("train", "inference"))
    for key in ("patch", "spacing", "preprocessing", "inferer", "network_def", "referring_share"):
        assert train[key] == inference[key], key
    assert (train["patch"], train["spacing"]) == (
        [64, 64, 64],
        [3.125, 3.125, 3.125],
    )  # of 48 M voxels a sixth
    assert train["train"]["dataset"]["_target_"] == "pgsam_monai.data.patches.PatchDataset"
    assert train["inferer"] == {
        "_target_": "pgsam_monai.inference.patches.PatchInferer",
        "patch": "@patch", "spacing": "@spacing", "overlap": 0.5,
        "batch_size": 1, "precision": "@precision",
    }  # fmt: skip
    assert train["loss"]["_target_"] == "pgsam_monai.training.losses.RequestLoss"
    inner = train["loss"]["loss"]
    assert (inner["_target_"], inner["weight_mode"]) == ("monai.losses.DeepSupervisionLoss", "exp")
    assert inner["loss"] == config(files, "samed", "train")["loss"]["loss"]
    assert (train["network_def"]["fine_features"], train["network_def"]["supervised_scales"]) == (True, 3)
    for part in (train["train"]["dataset"], train["network_def"]):
        assert part["patch"] == "@patch"
    assert train["network_def"]["token_size"] == [8, 8, 8]
    assert (train["network_def"]["mask_stride"], train["network_def"]["decoder_widths"]) == (
        2,
        [64, 64, 64, 32],
    )
    for key in ("image_size", "fit", "stack_depth"):
        assert key not in train and key not in inference
    shape = config(files, "refsam3d", "metadata")["network_data_format"]["inputs"]["image"]
    assert (shape["spatial_shape"], shape["is_patch_data"]) == ([64, 64, 64], True)


def test_no_other_bundle_speaks_of_patches_or_requests(files):
    for name in ("train", "inference", "evaluate", "multi_gpu_train"):
        text = files["samed"][f"configs/{name}.json"]
        assert not any(word in text for word in ("patch", "request", "refsam3d", "texts"))


def test_no_text_that_is_asked_stands_in_a_config(files):
    """It is set on the network, `pgsam_monai.bundle.Bundle.label_map`: MONAI would evaluate one that starts with $."""
    for name in ("train", "inference", "evaluate", "multi_gpu_train"):
        assert '"request"' not in files["refsam3d"][f"configs/{name}.json"]
    largest, _, restore, _ = config(files, "refsam3d", "inference")["postprocessing"]["transforms"]
    assert largest["largest"] == [] and "_disabled_" not in largest
    assert restore["labels"] == "@labels"


def test_every_bundle_can_start_from_a_trained_network(files):
    """Once the seed is set, and before anything is kept of the training; under torchrun likewise."""
    for network in files:
        train, ranks = (config(files, network, name) for name in ("train", "multi_gpu_train"))
        assert train["initial_model"] is None
        process, training = train["initialize"]
        assert (process["seed"], training["initial_model"]) == ("@seed", "@initial_model")
        assert [key for key in ranks if key.startswith("initialize")] == ["initialize#0#ranks"]


def test_overlays_are_tables_4_and_5(files):
    rows = {
        name.removeprefix("configs/ablation_").removesuffix(".json"): tuple(json.loads(text).values())
        for name, text in files["refsam3d"].items()
        if "ablation_" in name
    }
    everything = [1, 2, 3, 4]
    assert rows == {
        "1_full": (True, True, True, everything),
        "2_without_text_prompt": (False, True, True, everything),
        "3_without_projector": (True, False, True, everything),
        "4_without_hierarchical_fusion": (True, True, False, everything),
        "5_stages_1_4": (True, True, True, [1, 4]),
        "6_stages_2_4": (True, True, True, [2, 4]),
        "7_stages_3_4": (True, True, True, [3, 4]),
        "8_stage_4": (True, True, True, [4]),
    }
    readme = files["refsam3d"]["docs/README.md"]
    assert "| `ablation_4_without_hierarchical_fusion.json` | ✓ | ✓ | | 1 + 2 + 3 + 4 |" in readme


def test_its_readme_tells_of_texts_and_requests(files):
    readme = files["refsam3d"]["docs/README.md"]
    for said in (
        "## Texts",
        "holds the text tower",
        "## Asking in words",
        "--text",
        "no network connection",
    ):
        assert said in readme, said
    assert "CLIP learns from the training texts alone" in readme
    assert "Asking in words" not in files["samed"]["docs/README.md"]
    texts = json.loads(files["refsam3d"]["configs/texts.json"])
    assert list(texts) == ["background", "liver", "aorta"]
    packages = config(files, "refsam3d", "metadata")["required_packages_version"]
    assert "open_clip_torch" in packages


def test_a_sentence_encoder_stands_in_its_configs_and_clip_is_not_spoken_of():
    wishes = parse_overrides("refsam3d.text_encoder=minilm")
    files = {"refsam3d": bundle_files(plan("refsam3d", overrides=wishes).to_json(), {}, "refsam3d")}
    for name in ("train", "inference"):
        network = config(files, "refsam3d", name)["network_def"]
        assert network["text_encoder"] == "minilm"
        assert network["embeddings_file"] == "$@bundle_root + '/configs/text_embeddings.safetensors'"
    readme = files["refsam3d"]["docs/README.md"]
    assert "read by `minilm`" in readme and "goes through `minilm`" in readme
    assert "CLIP's weights" not in readme and "CLIP's text tower" not in readme


def test_an_encoders_folder_is_data():
    wishes = parse_overrides(["refsam3d.text_encoder=$print(1)"])
    record = plan("refsam3d", overrides=wishes).to_json()
    network = json.loads(bundle_files(record, {}, "refsam3d")["configs/train.json"])["network_def"]
    assert network["text_encoder"] != "$print(1)"


def test_a_plan_from_before_a_decision_is_read_as_it_was_made():
    """What came later stands at what every network had until then, whatever is planned today."""
    record = plan("refsam3d").to_json()
    forms = (
        "fine_features",
        "supervised_scales",
        "mask_stride",
        "decoder_widths",
        "direct_masks",
        "whitened_texts",
        "competing_requests",
    )
    for name in ("text_encoder", *forms, "asking_starts"):
        del record["configurations"]["refsam3d"][name]
    own = with_later(Plan.from_json(record)).configurations["refsam3d"]
    assert own["text_encoder"].value is None and own["fine_features"].value is False
    assert (own["supervised_scales"].value, own["asking_starts"].value) == (1, 0)
    assert (own["mask_stride"].value, own["decoder_widths"].value) == (1, [64, 32, 16, 16])
    assert own["competing_requests"].value is False
    assert own["direct_masks"].value is False and own["whitened_texts"].value is False


def test_a_recipes_texts_can_be_read_by_another_encoder():
    made = make_plan(
        None, dataset=HEADER, networks=("refsam3d",), recipe=load_recipe("refsam3d_btcv"),
        overrides=parse_overrides("text_encoder=minilm"),
    )  # fmt: skip
    assert made.configurations["refsam3d"]["text_encoder"].value == "minilm"


def test_its_report_shows_the_patch():
    page = make_report(plan("refsam3d"), published_splits(load_recipe("refsam3d_btcv")), None)
    assert "vit_mini at 64 × 64 × 64" in page and "What the network reads" in page
