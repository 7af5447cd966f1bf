from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from registry import COMMITTED, ROOT

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.training.training_request import TrainingRequest, read_training_request

CONFIG = {"epochs": 300, "iterations_per_epoch": 14, "learning_rate": 0.005}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "models").mkdir()
    for name in ("model.pt", "checkpoint_last.pt", "previous.pt", ".half.pt"):
        (tmp_path / "models" / name).write_bytes(b"")
    return tmp_path


def wanted(root: Path, device: str = "cpu", **request: object) -> TrainingRequest:
    return read_training_request(request, root=root, config=CONFIG, device=device)


def test_nothing_said_means_the_present_weights_and_the_planned_steps(root):
    assert wanted(root) == TrainingRequest(
        epochs=50, iterations_per_epoch=14, learning_rate=0.0005, validation_share=0.2,
        model_file=root / "models/model.pt", device="cpu", mlflow_uri=None,
    )  # fmt: skip


def test_trained_weights_go_on_with_a_tenth_of_the_planned_rate(root):
    assert wanted(root, pretrained=False).learning_rate == 0.005
    assert wanted(root, learning_rate="0.002").learning_rate == 0.002


def test_texts_and_lists_count_as_what_they_say(root):
    found = wanted(
        root, run_id="", max_epochs="3", val_split="-1", pretrained="True", model_filename=["previous.pt"],
        iterations_per_epoch=2.0, tracking=["None", "mlflow"], tracking_uri="", multi_gpu=True, gpus="all",
        client_id="user", force_multi_gpu=False,
    )  # fmt: skip
    assert (found.epochs, found.iterations_per_epoch, found.validation_share) == (3, 2, -1)
    assert found.model_file == root / "models/previous.pt" and found.mlflow_uri is None


@pytest.mark.parametrize("run_id", ["", None, "run", "training"])
def test_both_names_of_a_training_mean_it(root, run_id):
    assert wanted(root, run_id=run_id).epochs == 50


def test_anew_needs_no_weights(root):
    (root / "models/model.pt").unlink()
    assert wanted(root, pretrained=False).model_file is None
    with pytest.raises(RequestFault, match="is gone, put it back or send pretrained false"):
        wanted(root)


@pytest.mark.parametrize(
    "request_, sentence",
    [
        ({"run_id": "evaluating"}, "run_id must be one of training, run, or left out, got 'evaluating'"),
        ({"run_id": "$print(1)"}, "run_id must be one of"),
        ({"max_epochs": 0}, "max_epochs must be a whole number from 1, got 0"),
        ({"max_epochs": 1.5}, "whole number"),
        ({"max_epochs": "many"}, "max_epochs must be a number, got 'many'"),
        ({"max_epochs": True}, "must be a number"),
        ({"max_epochs": [3]}, "must be a number"),
        ({"max_epochs": float("inf")}, "must be a number"),
        ({"iterations_per_epoch": -1}, "iterations_per_epoch must be a whole number"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0; left out, it is 0.0005"),
        ({"val_split": 1}, "val_split must be 0 to below 1, or -1"),
        ({"val_split": -0.5}, "val_split must be 0 to below 1, or -1"),
        ({"val_split": float("nan")}, "val_split must be a number"),
        ({"pretrained": "perhaps"}, "pretrained must be true or false, got 'perhaps'"),
        (
            {"model_filename": "../../x.pt"},
            "no model file '../../x.pt' here; there are model.pt, checkpoint_last.pt",
        ),
        ({"model_filename": ".half.pt"}, "no model file"),
        ({"model_filename": 3}, "no model file"),
        ({"force_multi_gpu": True}, "one device; .* torchrun --standalone"),
        ({"tracking": "mlflow"}, "tracking"),
        ({"tracking": "wandb"}, "tracking 'wandb' is not here"),
    ],
)
def test_what_makes_no_sense_is_told(root, request_, sentence):
    with pytest.raises(RequestFault, match=sentence):
        wanted(root, **request_)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cuda;", ""])
def test_devices_that_are_not_there_are_told(root, device):
    with pytest.raises(RequestFault, match="device must be one of cpu"):
        wanted(root, device=device)


def test_gpus_are_known_by_their_number(root, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [wanted(root, device=name).device for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]


def test_a_tracking_address_is_never_an_expression(root, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert wanted(root, tracking="mlflow", tracking_uri="http://here:5000").mlflow_uri == "http://here:5000"
    for uri in ("$__import__('os').system('x')", "@seed", "", None, 3):
        with pytest.raises(RequestFault, match="tracking_uri must begin with http://"):
            wanted(root, tracking="mlflow", tracking_uri=uri)


def test_every_committed_bundle_says_what_a_request_needs():
    for name in COMMITTED:
        file = ROOT / "bundles" / name / "configs/train.json"
        config = json.loads(file.read_text())
        lengths = {"epochs", "iterations_per_epoch", "learning_rate", "warmup_iterations", "val_interval"}
        others = {"early_stop_epochs", "initial_model", "model_selection", "checkpoints", "labels"}
        assert lengths | others <= config.keys(), file
