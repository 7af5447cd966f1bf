"""Every backbone serves every SAM network: images, volumes, a training step, exports; random weights at 64 pixels."""

import copy
from dataclasses import replace

import pytest
import torch

from pgsam_monai.base import backbones
from pgsam_monai.export.network import load_adapters, save_adapters
from pgsam_monai.networks.autosam import AutoSAM
from pgsam_monai.networks.hsam import HSAM
from pgsam_monai.networks.pgsam import PGSAM
from pgsam_monai.networks.samdecoder import SamDecoder
from pgsam_monai.networks.samed import SAMed

TEXTS = [["The background."], ["The liver."], ["A tumour."]]
NETWORKS = {
    "samed": (SAMed, {}),
    "autosam": (AutoSAM, {}),
    "samdecoder": (SamDecoder, {}),
    "hsam": (HSAM, {}),
    "pgsam": (PGSAM, {"texts": TEXTS, "clip_model": "clip_tiny"}),
}
EXPORTED = [(name, "lite_medsam") for name in NETWORKS]
EXPORTED += [("samed", "mobile_sam"), ("samed", "efficient_sam_ti")]
STRIDES = {"vit_tiny": 16, "mobile_sam": 16, "efficient_sam_ti": 16, "lite_medsam": 4}

SHALLOW = {
    name: replace(sizes, depths=(1, 1, 1, 1))
    if isinstance(sizes, backbones.TinyVit)
    else replace(sizes, depth=2, global_blocks=(0, 1))
    for name, sizes in backbones.BACKBONES.items()
    if name in STRIDES
}

every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(autouse=True)
def shallow(request, monkeypatch):
    """SAMed's encoders are as deep as published; those of the others have each kind of block once or twice."""
    if request.node.callspec.params["name"] != "samed":
        for backbone, sizes in SHALLOW.items():
            monkeypatch.setitem(backbones.BACKBONES, backbone, sizes)


def make(name, backbone, **changes):
    torch.manual_seed(0)
    network, arguments = NETWORKS[name]
    common = {"num_classes": 2, "image_size": 64, "backbone": backbone, "encoder_training": "lora", "rank": 2}
    return network(**(common | arguments | changes))


def label_for(name, image):
    return {"label": torch.ones_like(image[:, :1])} if name == "hsam" else {}


@every_network
@pytest.mark.parametrize("backbone", STRIDES)
@torch.no_grad()
def test_images_and_volumes(name, backbone):
    network = make(name, backbone).eval()
    assert network.image_encoder.stride == STRIDES[backbone]
    logits = network(torch.rand(2, 1, 64, 64))
    assert logits.shape == (2, 3, 64, 64) and logits.dtype == torch.float32
    volume = torch.rand(1, 1, 48, 80, 2)  # TinyViT's windows don't divide its grids
    slices = network(volume)
    assert slices.shape == (1, 3, 48, 80, 2)
    torch.testing.assert_close(slices[..., 1], network(volume[..., 1]), atol=1e-5, rtol=1e-5)


@every_network
@pytest.mark.parametrize("backbone", STRIDES)
@pytest.mark.parametrize("training", ["lora", "full"])
def test_a_training_step(name, backbone, training):
    """Two steps: LoRA's A gets no gradient while its B is zero, nor do TinyViT's residual convolutions in front of a
    norm that starts at 0."""
    network = make(name, backbone, encoder_training=training).train()
    image = torch.rand(2, 1, 64, 64)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        outputs = network(image, **label_for(name, image))
        assert outputs[0].shape == (2, 3, 64, 64)
        sum(logits.square().mean() for logits in outputs).backward()
        optimizer.step()
    encoder = dict(network.image_encoder.named_parameters())
    trained = {key for key, value in encoder.items() if value.requires_grad}
    assert trained == ({key for key in encoder if "lora_" in key} if training == "lora" else set(encoder))
    idle = {key for key in trained if encoder[key].grad is None}
    assert not idle, idle
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(encoder[key].grad.abs().max() > 0 for key in trained if "lora_" in key)


@pytest.mark.parametrize(("name", "backbone"), EXPORTED)
@torch.no_grad()
def test_exports_by_tracing(name, backbone, tmp_path):
    network = make(name, backbone, in_channels=2).eval()
    for key, value in network.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(value, std=0.3)
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    for shape in ((3, 2, 64, 64), (1, 2, 64, 64, 2)):
        image = torch.rand(shape)
        torch.testing.assert_close(loaded(image), network(image), atol=1e-4, rtol=1e-4)


@every_network
@torch.no_grad()
def test_frozen_statistics_leave_a_pretrained_encoder_as_it_is(name):
    """A TinyViT that is not trained from random weights in full answers alike in training and evaluation."""
    network = make(name, "mobile_sam", encoder_training="frozen")
    before = copy.deepcopy(network.image_encoder.state_dict())
    image = torch.rand(2, 3, 64, 64)
    training = network.train().image_encoder(image)
    torch.testing.assert_close(network.eval().image_encoder(image), training, atol=1e-6, rtol=1e-6)
    after = network.image_encoder.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    scratch = make(name, "mobile_sam", encoder_training="full").train()
    scratch.image_encoder(image)
    assert scratch.image_encoder.patch_embed.conv1.bn.running_mean.abs().max() > 0


@every_network
@torch.no_grad()
def test_what_was_trained_alone_restores_a_tiny_vit_with_its_statistics(name, tmp_path):
    network = make(name, "mobile_sam", encoder_training="full").train()
    network.image_encoder(torch.randn(2, 3, 64, 64))  # moves the statistics
    file = save_adapters(network.eval(), tmp_path / "adapters.safetensors")
    other = make(name, "mobile_sam", encoder_training="full").eval()
    frozen = {key: value for key, value in network.named_parameters() if not value.requires_grad}
    other.load_state_dict(frozen, strict=False)
    load_adapters(other, file)
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(other(image), network(image), atol=0, rtol=0)
