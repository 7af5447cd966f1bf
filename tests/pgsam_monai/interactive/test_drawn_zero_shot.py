"""drawn_tiny answers clicks and boxes without a bundle, as it was trained: with prompts drawn into the mask."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_stand_in import NAME, put_stand_in, random_state
from small_volumes import write_case
from tiny_bundle import read_voxels

from pgsam_monai.base.errors import MissingFile
from pgsam_monai.base.files import sha256_of
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.commands import main as cli
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.zero_shot import load_zero_shot
from pgsam_monai.networks.adaptation.adapter import Adapter

PART = "image_encoder."


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # whose cache holds exported encoders
    return put_stand_in(monkeypatch, tmp_path / "site")


def test_it_is_asked_as_it_was_trained(shipped):
    model = load_zero_shot(NAME, device="cpu")
    assert model.image_size == model.network.image_size == KNOWN_WEIGHTS[NAME].image_size
    assert model.network.prompt_maps and model.trained_with_masks and not model.knows_everything
    assert not any(isinstance(part, Adapter) for part in model.network.modules())
    own = {key.replace(".block.", ".") for key in model.network.image_encoder.state_dict()}
    assert own == {key.removeprefix(PART) for key in random_state() if key.startswith(PART)}
    assert [round(float(value), 3) for value in model.network.pixel_mean] == [0.485, 0.456, 0.406]


def test_others_are_asked_as_before(shipped, monkeypatch):
    from pgsam_monai.interactive import zero_shot

    asked, real = [], zero_shot.MedSA
    monkeypatch.setattr(
        zero_shot, "MedSA", lambda **options: asked.append(options) or real(**{**options, "weights": None})
    )
    load_zero_shot("mobile_sam", image_size=32, device="cpu")
    assert asked[0]["prompt_maps"] is False


def test_a_segmenter_takes_its_name(shipped, tmp_path):
    item = write_case(tmp_path, shape=(20, 18, 5), values=[0, 5])
    segmenter = Segmenter.from_weights(NAME, {"liver": 5}, device="cpu")
    segmenter.set_image(item["image"])
    segmenter.add_click((3, 4, 2), "liver")
    segmenter.add_click((9, 9, 2), "liver", positive=False)
    assert segmenter.prediction.shape == (20, 18, 5) and set(np.unique(segmenter.prediction)) <= {0, 5}


@pytest.mark.parametrize("asked", ["clicks", "box"])
def test_pgsam_predict_takes_its_name(shipped, tmp_path, asked):
    item = write_case(tmp_path, shape=(20, 18, 5), values=[0, 5])
    clicks = tmp_path / "clicks.json"
    clicks.write_text(json.dumps({"labels": {"liver": {"positive": [[12, 5, 3]], "negative": [[2, 2, 3]]}}}))
    wishes = {"clicks": str(clicks)} if asked == "clicks" else {"box": (4, 15, 3, 14, 3, 3), "label": "liver"}
    cli.predict(NAME, item["image"], str(tmp_path / "out"), summary=True, device="cpu", **wishes)
    (written,) = (tmp_path / "out").glob("*.nii.gz")
    voxels, _ = read_voxels(written)
    assert voxels.shape == (20, 18, 5) and voxels[2, 2, 3] == 0
    assert voxels[12, 5, 3] == 1 if asked == "clicks" else not voxels[..., [0, 1, 2, 4]].any()
    (run,) = json.loads((tmp_path / "out/summary.json").read_text())["runs"]
    assert run["bundle"] == NAME and run["weights_sha256"] == sha256_of(shipped)


def test_its_encoder_is_exported_and_taken(shipped, tmp_path, capsys):
    pytest.importorskip("openvino")
    cli.export(NAME, form="openvino")
    folder = tmp_path / ".cache/pgsam_monai/weights/drawn_tiny_encoder"
    assert sorted(file.name for file in folder.glob("encoder.*"))[:2] == ["encoder.bin", "encoder.json"]
    assert "OpenVINO's image encoder for clicks and boxes" in capsys.readouterr().out
    item = write_case(tmp_path, shape=(20, 18, 5), values=[0, 5])
    answers = []
    for engine in ("torch", "openvino"):
        segmenter = Segmenter.from_weights(NAME, device="cpu", engine=engine, precision="fp32")
        segmenter.set_image(item["image"])
        segmenter.add_box((4, 15, 3, 14, 3, 3))
        answers.append(segmenter.prediction)
    assert np.mean(answers[0] == answers[1]) > 0.95


def test_a_name_that_is_nearly_right_is_told(tmp_path):
    with pytest.raises(MissingFile, match=r"'drawn_tyni' is no bundle.* Did you mean 'drawn_tiny'\?"):
        cli.predict("drawn_tyni", str(tmp_path / "scan.nii.gz"), str(tmp_path), box=(1, 2, 1, 2, 1, 1))
