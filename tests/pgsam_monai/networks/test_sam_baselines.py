"""AutoSAM and plain SAM with a trained decoder."""

import pytest
import torch
from small_sam import make_original

from pgsam_monai.networks.autosam import AutoSAM
from pgsam_monai.networks.samdecoder import SamDecoder
from pgsam_monai.networks.samed import SAMed

NETWORKS = {"autosam": AutoSAM, "samdecoder": SamDecoder}


def make(name, **changes):
    torch.manual_seed(0)
    return NETWORKS[name](**({"num_classes": 2, "image_size": 64, "backbone": "vit_tiny"} | changes))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_outputs(name, small_backbone):
    network = make(name, in_channels=2, backbone=small_backbone).eval()
    assert network(torch.rand(2, 2, 96, 64)).shape == (2, 3, 96, 64)
    assert network(torch.rand(1, 2, 64, 64, 3)).shape == (1, 3, 64, 64, 3)
    full, low = network.train()(torch.rand(2, 2, 64, 64))
    assert (full.shape, low.shape) == ((2, 3, 64, 64), (2, 3, 16, 16))
    assert network.description["network"] == network.name == name


@pytest.mark.parametrize("name", NETWORKS)
def test_the_encoder_is_frozen_and_keeps_nothing_for_gradients(name, small_backbone):
    network = make(name, backbone=small_backbone)
    assert not any(value.requires_grad for value in network.image_encoder.parameters())
    assert not network.image_encoder(network.normalise(torch.rand(1, 1, 64, 64))).requires_grad
    assert network(torch.rand(1, 1, 64, 64))[0].requires_grad


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("training", "backbone"), [("frozen", "vit_small"), ("full", "vit_tiny")])
def test_every_trained_parameter_gets_a_gradient(name, training, backbone, small_backbone):
    network = make(name, in_channels=2, backbone=backbone, encoder_training=training)
    sum(logits.square().mean() for logits in network(torch.rand(2, 2, 64, 64))).backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []
    assert any(n.startswith("image_encoder") for n, p in network.named_parameters() if p.requires_grad) == (
        training == "full"
    )


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_weights_from_a_file_in_the_official_layout(name, small_backbone, tmp_path):
    original = make_original(224)
    torch.save(original.state_dict(), tmp_path / "sam.pth")
    network = make(name, backbone=small_backbone, image_size=224, weights=str(tmp_path / "sam.pth"))
    image = network.normalise(torch.rand(1, 1, 224, 224))
    torch.testing.assert_close(
        network.image_encoder(image),
        original.image_encoder(image.expand(-1, 3, -1, -1)),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.no_grad()
def test_samdecoder_is_samed_without_adapters(small_backbone):
    network = make("samdecoder", backbone=small_backbone).eval()
    samed = SAMed(num_classes=2, image_size=64, backbone=small_backbone, encoder_training="frozen").eval()
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("_extra")}
    samed.load_state_dict(state, strict=False)
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(network(image), samed(image), atol=0, rtol=0)


def test_trained_parameters_of_vit_b():
    with torch.device("meta"):
        autosam, samdecoder = (
            make(name, backbone="vit_b", num_classes=8, image_size=224) for name in NETWORKS
        )
    trained = [sum(p.numel() for p in n.parameters() if p.requires_grad) for n in (autosam, samdecoder)]
    head = 256 * 128 * 4 + 128 + 2 * 128 + 128 * 128 * 9 + 128 + 2 * 128
    head += 128 * 64 * 4 + 64 + 2 * 64 + 64 * 64 * 9 + 64 + 2 * 64 + 64 * 9 + 9
    quality = sum(p.numel() for p in samdecoder.mask_decoder.iou_prediction_head.parameters())
    assert trained == [head, 4_759_945 - quality + 256]
    assert not hasattr(autosam, "mask_decoder")
