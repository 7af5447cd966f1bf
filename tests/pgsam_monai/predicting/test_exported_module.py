"""Exported networks in the place of trained ones: batches of any size, and what is kept between requests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dataset_builders import write_nnunet
from tiny_bundle import run_bundle
from untrained import draw_weights, plan_untrained

from pgsam_monai.bundle import Bundle
from pgsam_monai.commands.evaluate import CONFIGS, evaluate, exported_components
from pgsam_monai.export.engines import export_engine
from pgsam_monai.predicting.exported import ExportedModule, kept_network
from pgsam_monai.runtime.engines import ONNXRUNTIME


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_nnunet(tmp_path_factory.mktemp("module") / "Dataset001_Pair", cases=3, shape=(30, 26, 10))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("pgsam_monai.runtime.choosing.has_gpu", lambda: False)


def exported(folder):
    export_engine(Bundle.trained(folder, device="cpu"), ONNXRUNTIME, [])
    return Bundle.trained(folder, device="cpu", overrides={"precision": "fp32"})


@pytest.mark.parametrize("network", ["dynunet", "dynunet_3d"])
@torch.no_grad()
def test_it_answers_batches_of_any_size(network, data, tmp_path):
    folder = plan_untrained(data, tmp_path, network)
    bundle = exported(folder)
    module = ExportedModule(folder, ONNXRUNTIME)
    image = torch.rand(3, *module.exported.input_shape[1:])
    found, expected = module(image), bundle.network(image)
    expected = expected[0] if isinstance(expected, list | tuple) else expected
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_it_is_kept_while_its_files_stay(data, tmp_path):
    folder = plan_untrained(data, tmp_path, "dynunet")
    assert kept_network(folder, "auto") is None
    exported(folder)
    module = kept_network(folder, ONNXRUNTIME)
    assert kept_network(folder, ONNXRUNTIME) is module
    draw_weights(folder, seed=5)
    assert kept_network(folder, "auto") is None


def test_evaluation_measures_what_answers(data, tmp_path, capsys):
    folder = plan_untrained(data, tmp_path, "dynunet")
    exported(folder)
    engine = exported_components(str(folder), ONNXRUNTIME, {})
    run_bundle("evaluating", folder, tuple(CONFIGS), output_dir=str(tmp_path / "torch"), precision="fp32")
    run_bundle("evaluating", folder, tuple(CONFIGS), output_dir=str(tmp_path / "onnx"), **engine)
    assert "ONNX Runtime answers, in fp32." in capsys.readouterr().out
    tables = [(tmp_path / name / "validation/metrics.csv").read_text() for name in ("torch", "onnx")]
    rows = [[line.split(",") for line in table.splitlines()] for table in tables]
    assert len(rows[0]) == len(rows[1]) > 2
    dice = [[float(row[table[0].index("dice")] or 0) for row in table[1:]] for table in rows]
    assert np.allclose(*dice, atol=0.01)
    with pytest.raises(ValueError, match="--engine onnxruntime can't do --ckpt_dir"):
        evaluate(str(folder), engine=ONNXRUNTIME, ckpt_dir=str(tmp_path))
