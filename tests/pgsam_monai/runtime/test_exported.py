"""Exported networks answer as the trained ones, without torch: contracts over all networks."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from dataset_builders import write_nnunet
from tiny_bundle import read_voxels
from untrained import draw_weights, plan_untrained

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.files import sha256_of
from pgsam_monai.bundle import Bundle
from pgsam_monai.export.comparing import agreement, cases_to_compare
from pgsam_monai.export.engines import described, export_engine
from pgsam_monai.predicting.predict import predict
from pgsam_monai.runtime.choosing import exported_network
from pgsam_monai.runtime.engines import installed
from pgsam_monai.runtime.record import AGREEMENT, SliceInput, read_record

NETWORKS = ("samed", "hsam", "pgsam", "medsa", "dynunet", "dynunet_3d", "refsam3d")
OPENVINO = pytest.mark.skipif(not installed("openvino"), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_nnunet(tmp_path_factory.mktemp("exported") / "Dataset001_Pair", cases=3, shape=(30, 26, 10))


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    """Of SAMed, untouched by tests but for its models folder."""
    return plan_untrained(folder, tmp_path_factory.mktemp("samed"), "samed")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("pgsam_monai.runtime.choosing.has_gpu", lambda: False)


def export(folder, engine, cases=1):
    bundle = Bundle.trained(folder, device="cpu")
    part, found = cases_to_compare(bundle, cases)
    return export_engine(bundle, engine, found, part=part)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_answers_alike(network, folder, tmp_path):
    made = plan_untrained(folder, tmp_path, network)
    export(made, "onnxruntime")
    answers = exported_network(made)
    assert answers.record.engines["onnxruntime"].agreement >= AGREEMENT
    image = str(next((folder / "imagesTr").iterdir()))
    whole = Bundle.trained(made, device="cpu", overrides={"precision": "fp32"})
    (found, read), expected = answers.label_map(image, sure=True), whole.label_map(image)
    assert agreement(expected.voxels, found.voxels, 0) > AGREEMENT and (found.voxels > 0).any()
    assert found.voxels.dtype == expected.voxels.dtype and np.array_equal(found.affine, expected.affine)
    assert found.label_names == expected.label_names and read.voxels.shape[1:] == found.voxels.shape
    assert found.soft_dice == pytest.approx(expected.soft_dice, abs=2e-3)


@OPENVINO
@pytest.mark.parametrize("network", ["samed", "dynunet_3d"])
def test_openvino_takes_a_precision_that_agrees(network, folder, tmp_path):
    made = plan_untrained(folder, tmp_path, network)
    files = export(made, "openvino")
    assert [file.name for file in files] == ["openvino.xml", "openvino.bin", "exported.json"]
    answers = exported_network(made)
    assert answers.engine == "openvino" and answers.record.engines["openvino"].verified


def test_prediction_needs_neither_torch_nor_monai(bundle, folder, tmp_path):
    export(bundle, "onnxruntime")
    image = next((folder / "imagesTr").iterdir())
    code = (
        "import sys; from pgsam_monai.commands.main import main; "
        f"main(['predict', {str(bundle)!r}, {str(image)!r}, {str(tmp_path)!r}, '--engine', 'onnxruntime']); "
        "sys.exit(' '.join({'torch', 'monai', 'scipy.ndimage'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    voxels, _ = read_voxels(next(tmp_path.glob("*.nii.gz")))
    exact = Bundle.trained(bundle, device="cpu", overrides={"precision": "fp32"})
    assert agreement(exact.label_map(str(image)).voxels, voxels, 0) > AGREEMENT


def test_a_summary_tells_which_engine_answered(bundle, folder, tmp_path):
    export(bundle, "onnxruntime")
    weights = (bundle / "models/model.pt").read_bytes()
    (bundle / "models/model.pt").unlink()  # as on a machine that only predicts
    predict(bundle, next((folder / "imagesTr").iterdir()), tmp_path, summary=True)
    (run,) = json.loads((tmp_path / "summary.json").read_text())["runs"]
    assert run["settings"] == {"format": "same", "engine": "onnxruntime", "precision": "fp32"}
    assert run["weights_sha256"] == sha256_of(bundle / "models/model.onnx")
    (bundle / "models/model.pt").write_bytes(weights)


def test_a_network_that_was_trained_again_is_not_taken(bundle, capsys):
    export(bundle, "onnxruntime")
    weights = (bundle / "models/model.pt").read_bytes()
    draw_weights(bundle, seed=1)
    assert exported_network(bundle) is None
    assert "was trained since it was exported" in capsys.readouterr().err
    with pytest.raises(UserFault, match="trained since it was exported; export it again"):
        exported_network(bundle, "onnxruntime")
    (bundle / "models/model.pt").unlink()  # as on a machine that only predicts
    assert exported_network(bundle).engine == "onnxruntime"
    (bundle / "models/model.pt").write_bytes(weights)


def test_what_was_not_seen_to_agree_must_be_asked_for(bundle):
    export(bundle, "onnxruntime", cases=0)
    assert read_record(bundle / "models").engines["onnxruntime"].agreement is None
    assert exported_network(bundle) is None
    assert exported_network(bundle, "onnxruntime").engine == "onnxruntime"


def test_a_damaged_network_is_told(bundle, folder):
    export(bundle, "onnxruntime")
    file = bundle / "models/model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserFault, match="is not what was exported"):
        exported_network(bundle).run  # noqa: B018
    record = bundle / "models/exported.json"
    record.write_text("{}")
    with pytest.raises(UserFault, match="exported.json' is damaged"):
        exported_network(bundle)
    record.unlink()


def test_wishes_that_cannot_be_met(bundle):
    with pytest.raises(UserFault, match="engine is auto, torch, openvino or onnxruntime, got 'tensorrt'"):
        exported_network(bundle, "tensorrt")
    with pytest.raises(MissingFile, match="has no network for ONNX Runtime; write it first: pgsam export"):
        exported_network(bundle, "onnxruntime")
    with pytest.raises(UserFault, match="--engine onnxruntime can't do --text; leave either out"):
        exported_network(bundle, "onnxruntime", needs_torch=["--text"])
    assert exported_network(bundle, "torch") is None


def test_an_unknown_step_is_refused(bundle):
    whole = Bundle.trained(bundle, device="cpu")
    assert described(whole).seen == SliceInput(image_size=32, fit="stretch")
    config = json.loads((bundle / "configs/inference.json").read_text())
    config["preprocessing"]["transforms"].insert(1, {"_target_": "GaussianSmoothd", "keys": "image"})
    (bundle / "configs/other.json").write_text(json.dumps(config))
    with pytest.raises(UserFault, match="don't know 'GaussianSmoothd'"):
        described(Bundle.trained(bundle, device="cpu", configs=["other.json"]))
