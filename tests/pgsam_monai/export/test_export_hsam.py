"""H-SAM in other forms: adapters merged, TorchScript, ONNX."""

from __future__ import annotations

from dataclasses import replace

import onnxruntime
import pytest
import torch
from small_sam import SMALL

from pgsam_monai.base import backbones
from pgsam_monai.export.engines import write_onnx
from pgsam_monai.export.network import load_adapters, save_adapters
from pgsam_monai.networks.hsam import HSAM
from pgsam_monai.networks.traced import merge_for_inference


def make_hsam(seed, **changes):
    torch.manual_seed(seed)
    arguments = {"num_classes": 2, "image_size": 64, "in_channels": 2, "backbone": "vit_small", "rank": 2}
    network = HSAM(**(arguments | changes))
    for name, value in network.named_parameters():
        if "lora_B" in name or "rel_pos" in name or "compress.weight" in name:
            torch.nn.init.normal_(value, std=0.3)
    return network.eval()


@pytest.fixture
def hsam(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "vit_small", replace(SMALL, decoder_mlp_dim=64))
    return make_hsam(seed=0)


@torch.no_grad()
def test_merged_keeps_the_output(hsam):
    image = torch.rand(2, 2, 64, 64)
    torch.testing.assert_close(merge_for_inference(hsam)(image), hsam(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_adapters_alone_restore_it(hsam, tmp_path):
    hsam.second_stage.class_attention.noise.counts += 7  # counted while training, of no use afterwards
    file = save_adapters(hsam, tmp_path / "adapters.safetensors")
    other = make_hsam(seed=1)
    frozen = {name: value for name, value in hsam.named_parameters() if not value.requires_grad}
    other.load_state_dict(frozen | dict(hsam.named_buffers()), strict=False)  # what SAM's weights would give
    load_adapters(other, file)
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(other(image), hsam(image), atol=0, rtol=0)


@torch.no_grad()
def test_scripts_with_a_grid_of_its_own(hsam):
    native = make_hsam(seed=0, class_attention_grid="native")
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(torch.jit.script(native)(image), native(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ensemble", ["mean", "second"])
@torch.no_grad()
def test_scripts_and_saves(hsam, ensemble, tmp_path):
    hsam.ensemble = ensemble
    torch.jit.save(torch.jit.script(hsam), tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    for shape in ((1, 2, 64, 64), (3, 2, 64, 64), (1, 2, 64, 64, 2)):
        image = torch.rand(shape)
        torch.testing.assert_close(loaded(image), hsam(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"mask_attention": "binary", "class_attention": False},
        {"mask_attention": "none", "pixel_decoder": False},
    ],
)
@torch.no_grad()
def test_onnx(hsam, parts, tmp_path):
    network = make_hsam(seed=0, **parts)
    image, file = torch.rand(1, 2, 64, 64), tmp_path / "model.onnx"
    write_onnx(network, file, image.shape)
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(image), atol=1e-3, rtol=1e-3)
