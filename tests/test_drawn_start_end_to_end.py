"""A training that starts from drawn_tiny: planned, trained, measured, and asked by clicks."""

from __future__ import annotations

import json

import pytest
import torch
from dataset_builders import write_msd
from drawn_stand_in import NAME, put_stand_in
from tiny_bundle import plan_tiny, read_voxels, run_bundle

from pgsam_monai.bundle import Bundle
from pgsam_monai.commands import main as cli
from pgsam_monai.weights.files import load_weights

STEM = "image_encoder.patch_embed.stage_2.0.weight"


@pytest.mark.parametrize("network", ["samed", "medsa"])
def test_everything_is_trained_on_from_them(network, monkeypatch, tmp_path):
    given = load_weights(put_stand_in(monkeypatch, tmp_path / "site"))
    folder = write_msd(tmp_path / "Task02_Heart", cases=5, shape=(20, 18, 7))
    bundle = plan_tiny(folder, tmp_path, "backbone=vit_tiny", f"weights={NAME}", networks=network)
    run_bundle("training", bundle, learning_rate=1e-5)
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    moved = (state[STEM] - given[STEM].float()).abs()
    assert state[STEM].dtype == torch.float32 and 0 < moved.max() < 1e-3
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"))
    assert json.loads((bundle / "eval/validation/metrics.json").read_text())["cases"]
    served = Bundle.trained(bundle, device="cpu").network
    assert getattr(served, "prompt_maps", False) is (network == "medsa")
    scan, asked = folder / "imagesTr/organ_001.nii.gz", {}
    if network == "medsa":
        asked = {"box": (1, 9, 1, 9, 3, 3), "label": "organ1"}
    cli.predict(str(bundle), str(scan), str(tmp_path / "out"), device="cpu", **asked)
    assert read_voxels(tmp_path / "out/organ_001.nii.gz")[0].shape == (20, 18, 7)
