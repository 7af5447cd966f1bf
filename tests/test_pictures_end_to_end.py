"""Pictures as their challenges lay them out: planned, trained, measured, and predicted on their own grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from picture_builders import write_isic, write_refuge, write_ultrasound
from PIL import Image
from tiny_bundle import plan_tiny, run_bundle

from pgsam_monai.predicting.predict import predict


def decided(bundle: Path) -> dict:
    plan = json.loads((bundle / "configs/plan.json").read_text())
    return {name: entry["value"] for name, entry in plan["decisions"].items()}


def evaluated(bundle: Path) -> dict:
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"))
    return json.loads((bundle / "eval/validation/metrics.json").read_text())


def test_refuge_keeps_its_inverted_values(tmp_path):
    folder = write_refuge(tmp_path / "REFUGE", cases=5, test=1)
    bundle = plan_tiny(folder, tmp_path, networks="medsa")
    values = decided(bundle)
    assert (values["labels"], values["modality"]) == ([255, 0, 128], "RGB")
    assert values["label_names"] == ["background", "optic cup", "optic disc rim"]
    config = json.loads((bundle / "configs/train.json").read_text())
    assert (config["network_def"]["in_channels"], config["stack_depth"]) == (3, 1)
    run_bundle("training", bundle)
    rows = evaluated(bundle)["cases"][0]["classes"]
    assert [row["value"] for row in rows] == [0, 128]
    (written,) = predict(bundle, folder / "Test400/T0001.jpg", tmp_path / "out", overlays=True)
    picture, source = Image.open(written), Image.open(folder / "Test400/T0001.jpg")
    assert written.name == "T0001.png" and picture.size == source.size and picture.mode == "L"
    assert set(np.unique(picture)) <= {0, 128, 255}


def test_an_untrained_corner_is_background_in_the_files_own_value(tmp_path):
    """A network that always says background: every pixel is 255, as in REFUGE's masks, and the cup is missed."""
    import torch

    folder = write_refuge(tmp_path / "REFUGE", cases=5)
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    for name, value in state.items():
        if "output_hypernetworks_mlps" in name and value.is_floating_point():
            value.zero_()  # all logits are equal then, and the lower class wins
    torch.save(state, bundle / "models/model.pt")
    (written,) = predict(bundle, folder / "Training400/Glaucoma/g0001.jpg", tmp_path / "out")
    assert np.unique(Image.open(written)).tolist() == [255]
    assert {row["outcome"] for row in evaluated(bundle)["cases"][0]["classes"]} == {"missed"}


@pytest.mark.parametrize("kind", ["isic", "L", "RGBA", "P"])
def test_lesions_and_nodules(kind, tmp_path):
    if kind == "isic":
        folder, source = (
            write_isic(tmp_path / "skin", cases=5),
            "ISIC2018_Task1-2_Training_Input/ISIC_0000003.jpg",
        )
    else:
        folder, source = write_ultrasound(tmp_path / "nodules", mode=kind, cases=5), "image/3.PNG"
    bundle = plan_tiny(folder, tmp_path)
    assert decided(bundle)["labels"] == [0, 255]
    channels = json.loads((bundle / "configs/train.json").read_text())["network_def"]["in_channels"]
    assert channels == (1 if kind == "L" else 3)
    run_bundle("training", bundle)
    (written,) = predict(bundle, folder / source, tmp_path / "out")
    assert Image.open(written).size == Image.open(folder / source).size
    assert set(np.unique(Image.open(written))) <= {0, 255}
    assert evaluated(bundle)["cases"]
