"""`--compile true` in training, evaluating and predicting: the weights' names and the voxels of a plain bundle."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny, read_voxels, run_bundle
from untrained import plan_untrained

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks import compiled, trained
from pgsam_monai.predicting.predict import predict
from pgsam_monai.training import preparing


@pytest.fixture
def no_code(monkeypatch):
    """The graphs are captured, but no code is made of them, which takes minutes; counts networks that were compiled."""
    torch._dynamo.reset()
    asked = []

    def compile_blocks(network):
        asked.append(network)
        make(network, backend="eager")

    make = compiled.compile_blocks
    for module in (compiled, preparing, trained):
        monkeypatch.setattr(module, "compile_blocks", compile_blocks)
    return asked


def test_a_compiled_training_and_its_predictions_are_a_plain_ones(tmp_path, no_code):
    folder = write_msd(tmp_path / "Task02_Heart", cases=5, shape=(20, 18, 5))
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    plain = torch.load(bundle / "models/model.pt", weights_only=True)
    assert not no_code
    places = {"ckpt_dir": str(tmp_path / "compiled"), "output_dir": str(tmp_path / "eval")}
    run_bundle("training", bundle, compile=True, **places)
    state = torch.load(tmp_path / "compiled/model.pt", weights_only=True)
    assert list(state) == list(plain) and len(no_code) == 1
    for name, value in plain.items():
        if value.is_floating_point():
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), compile=True, **places)
    assert json.loads((tmp_path / "eval/validation/metrics.json").read_text())["cases"]
    image = next((folder / "imagesTr").glob("*.nii.gz"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (one,) = predict(bundle, image, tmp_path / "one", device="cpu")
        (other,) = predict(bundle, image, tmp_path / "other", device="cpu", compile=True)
    assert len(no_code) == 3
    agreeing = read_voxels(one)[0] == read_voxels(other)[0]
    assert np.mean(agreeing) > 0.999


def test_without_a_compiler_predicting_says_so(tmp_path, monkeypatch):
    folder = write_msd(tmp_path / "Task02_Heart", cases=4, shape=(20, 18, 5))
    bundle = plan_untrained(folder, tmp_path, "samed")
    monkeypatch.setenv("CXX", "nothing")
    image = next((folder / "imagesTr").glob("*.nii.gz"))
    with pytest.raises(UserFault, match="^compile true needs a C.. compiler, and there is no 'nothing' here"):
        predict(bundle, image, tmp_path / "predictions", device="cpu", compile=True)
