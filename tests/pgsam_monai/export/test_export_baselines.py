"""The baselines in other forms."""

import onnxruntime
import pytest
import torch
from small_sam import SMALL

from pgsam_monai.base import backbones
from pgsam_monai.export.engines import write_onnx
from pgsam_monai.export.network import load_adapters, save_adapters
from pgsam_monai.networks.autosam import AutoSAM
from pgsam_monai.networks.dynunet import DynUNet
from pgsam_monai.networks.samdecoder import SamDecoder
from pgsam_monai.networks.swinunetr import SwinUNETR
from pgsam_monai.networks.traced import merge_for_inference
from pgsam_monai.networks.unet import UNet
from pgsam_monai.networks.unetr import UNETR

COMMON = {"num_classes": 2, "image_size": 64, "in_channels": 2}
TOPOLOGY = {"kernels": [3] * 4, "strides": [2, 2, 2, 2], "filters": [4, 8, 16, 16]}
MAKERS = {
    "dynunet": lambda: DynUNet(**COMMON, **TOPOLOGY),
    "unet": lambda: UNet(**COMMON, filters=(4, 8, 8, 8, 8)),
    "swinunetr": lambda: SwinUNETR(**COMMON, feature_size=12),
    "unetr": lambda: UNETR(**COMMON, feature_size=4, hidden_size=24, mlp_dim=32, heads=2),
    "autosam": lambda: AutoSAM(**COMMON, backbone="vit_small"),
    "samdecoder": lambda: SamDecoder(**COMMON, backbone="vit_small"),
}


@pytest.fixture(params=MAKERS)
def network(request, monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "vit_small", SMALL)
    torch.manual_seed(0)
    return MAKERS[request.param]().eval()


@torch.no_grad()
def test_scripting_exports_any_batch_and_volumes(network, tmp_path):
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    for shape in ((1, 2, 64, 64), (3, 2, 64, 64), (2, 2, 64, 64, 3)):
        image = torch.rand(shape)
        torch.testing.assert_close(loaded(image), network(image), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_onnx(network, tmp_path):
    image, file = torch.rand(1, 2, 64, 64), tmp_path / "model.onnx"
    write_onnx(network, file, image.shape)
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(image), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_what_was_trained_alone_and_merged_for_inference(network, tmp_path):
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(merge_for_inference(network)(image), network(image), atol=1e-6, rtol=1e-6)
    file = save_adapters(network, tmp_path / "adapters.safetensors")
    torch.manual_seed(1)
    other = MAKERS[network.name]().eval()
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    kept = {name: value for name, value in network.state_dict().items() if name in frozen or "matrix" in name}
    other.load_state_dict(kept, strict=False)
    load_adapters(other, file)
    torch.testing.assert_close(other(image), network(image), atol=0, rtol=0)
