"""Image encoders of networks that take prompts, exported for OpenVINO: they answer for the network, or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from dataset_builders import write_nnunet
from untrained import draw_weights, plan_untrained

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.export.encoder import drawn_image, export_encoder, relative_error
from pgsam_monai.interactive.model import prompt_model
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.runtime.encoder import RECORD, ExportedEncoder, read_encoder_record
from pgsam_monai.runtime.engines import installed

OPENVINO = pytest.mark.skipif(not installed("openvino"), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoder")
    data = write_nnunet(root / "Dataset001_Pair", cases=3, shape=(30, 26, 10))
    return plan_untrained(data, root / "work", "medsa")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("pgsam_monai.runtime.encoder.has_gpu", lambda: False)


@OPENVINO
def test_it_encodes_as_the_network_does(folder):
    bundle = Bundle.trained(folder, device="cpu")
    assert prompt_model(bundle, "auto").encoder is None
    with pytest.raises(
        MissingFile, match="No image encoder was exported to .*pgsam export .* --form openvino"
    ):
        prompt_model(bundle, "openvino")
    files = export_encoder(bundle.network, bundle.model_file, folder / "models")
    assert [file.name for file in files] == ["encoder.xml", "encoder.bin", RECORD]
    model, plain = prompt_model(bundle, "auto"), prompt_model(bundle)
    assert model.encoder is not None and plain.encoder is None
    images = drawn_image((3 * model.network.stack_depth, 1, model.image_size, model.image_size))
    found, expected = model.embed(images), plain.embed(images)
    assert len(found.skips) == len(expected.skips)
    for one, other in zip(
        (found.embedding, *found.skips), (expected.embedding, *expected.skips), strict=True
    ):
        assert one.shape == other.shape
        assert relative_error([one.float().numpy()], [other.float().numpy()]) < 0.05
    segmenter = Segmenter(model)
    segmenter.set_image(np.random.default_rng(0).random((30, 26, 4), np.float32))
    segmenter.add_click((10, 10, 2), model.names[0])
    assert segmenter.prediction.shape == (30, 26, 4)


@OPENVINO
def test_of_other_weights_it_is_not_taken(folder):
    bundle = Bundle.trained(folder, device="cpu")
    export_encoder(bundle.network, bundle.model_file, folder / "models")
    draw_weights(folder, seed=3)
    assert prompt_model(bundle, "auto").encoder is None
    with pytest.raises(UserFault, match="of other weights"):
        prompt_model(bundle, "openvino")


@OPENVINO
def test_a_less_exact_one_must_be_asked_for(folder):
    bundle = Bundle.trained(folder, device="cpu")
    export_encoder(bundle.network, bundle.model_file, folder / "models")
    record = folder / "models" / RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"error": 0.3, "error_of_torch": 0.2}))
    assert not read_encoder_record(folder / "models").verified
    assert prompt_model(bundle, "auto").encoder is None
    assert prompt_model(bundle, "openvino").encoder is not None
    record.write_text("{}")
    with pytest.raises(UserFault, match="encoder.json' is damaged"):
        prompt_model(bundle, "auto")


def test_another_engine_is_refused(folder):
    with pytest.raises(UserFault, match="with torch or openvino, got --engine onnxruntime"):
        prompt_model(Bundle.trained(folder, device="cpu"), "onnxruntime")


def test_stacks_go_one_by_one():
    seen = []

    def run(inputs):
        seen.append(len(inputs[0]))
        return [inputs[0] + 1, inputs[0] * 2]

    images = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1)
    embedding, skip = ExportedEncoder(run, 3)(images)
    assert seen == [3, 3] and np.array_equal(embedding, images + 1) and np.array_equal(skip, images * 2)


def test_errors_by_hand():
    exact = [np.array([1.0, -1.0]), np.array([4.0])]
    assert relative_error([np.array([1.0, -2.0]), np.array([5.0])], exact) == 0.5
    assert 0 <= drawn_image((2, 1, 32, 32)).min() < drawn_image((2, 1, 32, 32)).max() <= 1
    assert torch.equal(drawn_image((1, 1, 32, 32)), drawn_image((1, 1, 32, 32)))
