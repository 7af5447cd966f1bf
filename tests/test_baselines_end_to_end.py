"""Every baseline through its bundle: plan beside SAMed, train, evaluate, infer."""

import json

import pytest
import torch
from dataset_builders import write_msd
from registry import SLICE_BASELINES as BASELINES
from registry import WITH_SAM
from tiny_bundle import plan_tiny, read_voxels, run_bundle

from preprocess.networks.declared import settings

SAM_WORDS = ("segment-anything", "peft")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """One plan, a bundle for each baseline and for SAMed."""
    work = tmp_path_factory.mktemp("baselines")
    plan_tiny(write_msd(work / "Task02_Heart", cases=5), work, networks=",".join((*BASELINES, "samed")))
    return work / "bundles"


def config(bundle, name):
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


@pytest.mark.parametrize("network", BASELINES)
def test_it_trains_evaluates_and_infers(bundles, network, tmp_path):
    bundle = bundles / f"{network}_heart"
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    # The store of slices is one for all: they share their preprocessing.
    run_bundle("training", bundle, ("train.json",), store_dir=str(bundles / "store"), **places)
    state = torch.load(tmp_path / "models/model.pt", weights_only=True)
    assert "_extra_state" in state
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), **places)
    assert json.loads((tmp_path / "eval/validation/metrics.json").read_text())["cases"]
    run_bundle("inferring", bundle, ("inference.json",), **places)
    voxels, _ = read_voxels(next((tmp_path / "eval").glob("*.nii.gz")))
    assert voxels.ndim == 3


@pytest.mark.parametrize("network", BASELINES)
def test_what_is_compared_is_the_same_as_samed(bundles, network):
    own, samed = (config(bundles / f"{name}_heart", "train") for name in (network, "samed"))
    for key in (
        "preprocessing",
        "inferer",
        "image_size",
        "fit",
        "batch_size",
        "epochs",
        "foreground_share",
        "seed",
    ):
        assert own[key] == samed[key], key
    assert own["train"] == samed["train"] and own["validate"] == samed["validate"]
    assert own["loss"]["weight_mode"] == settings(network).get("deep_supervision", "same")
    other = (bundles / f"{network}_heart/configs/splits.json").read_text()
    assert other == (bundles / "samed_heart/configs/splits.json").read_text()


@pytest.mark.parametrize("network", BASELINES)
def test_papers_speak_of_sam_only_where_there_is_one(bundles, network):
    bundle, with_sam = bundles / f"{network}_heart", network in WITH_SAM
    readme = (bundle / "docs/README.md").read_text()
    assert "A baseline: " in readme and ("| backbone |" in readme) == with_sam
    required = config(bundle, "metadata")["required_packages_version"]
    assert all((word in required) == with_sam for word in SAM_WORDS)
    assert settings(network).get("packages", {}).items() <= required.items()
    assert not (bundle / "large_files.yml").exists()
