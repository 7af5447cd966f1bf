"""RefSAM3D in other forms: texts fixed, TorchScript and ONNX equal the network, at the patch it was planned for."""

from __future__ import annotations

import io

import onnxruntime
import pytest
import torch

from pgsam_monai.export.engines import write_onnx
from pgsam_monai.networks.refsam3d import RefSAM3D
from pgsam_monai.networks.traced import fix_texts, merge_for_inference

PATCH = (32, 32, 16)
NAMES = ["background", "spleen", "liver"]


FORMS = {
    "published": {},
    "planned": {
        "fine_features": True, "supervised_scales": 3, "mask_stride": 2, "decoder_widths": (16, 16, 16, 8),
        "direct_masks": True, "whitened_texts": True,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=FORMS)
def network(request):
    torch.manual_seed(0)
    network = RefSAM3D(
        num_classes=2, patch=PATCH, token_size=(8, 8, 4), backbone="vit_mini", window=3, encoder_training="full",
        texts=[[f"The {name} on CT."] for name in NAMES], names=NAMES, clip_model="clip_tiny", clip_training="full",
        **FORMS[request.param],
    )  # fmt: skip
    for name, value in network.named_parameters():
        if "rel_pos" in name or name.endswith(("adapter.up.weight", "mask_mlp.layers.2.weight")):
            torch.nn.init.normal_(value, std=0.3)
    return network.eval()


@torch.no_grad()
def test_the_texts_are_fixed_and_their_tower_is_gone(network):
    image = torch.rand(1, 1, *PATCH)
    expected = network(image)
    fixed = fix_texts(merge_for_inference(network))
    torch.testing.assert_close(fixed(image), expected, atol=1e-5, rtol=1e-5)
    assert not any(name.startswith("clip.text_tower") for name in fixed.state_dict())


@torch.no_grad()
def test_torchscript_equals_the_network_for_any_batch(network):
    scripted = torch.jit.script(network)
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    for batch in (1, 3):
        image = torch.rand(batch, 1, *PATCH)
        torch.testing.assert_close(loaded(image), network(image), atol=1e-4, rtol=1e-4)
    with pytest.raises(torch.jit.Error, match="patches of its own size only"):
        loaded(torch.rand(1, 1, 64, 32, 16))


@torch.no_grad()
def test_onnx_equals_the_network(network, tmp_path):
    image, file = torch.rand(1, 1, *PATCH), tmp_path / "model.onnx"
    write_onnx(network, file, image.shape)
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(image), atol=1e-3, rtol=1e-3)
