import copy
import logging
import pickle

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import CheckpointLoader
from monai.networks.utils import copy_model_state
from small_sam import make_original

from pgsam_monai.networks.samed import SAMed


def make_samed(**changes):
    torch.manual_seed(0)
    arguments = {"num_classes": 2, "image_size": 64, "backbone": "vit_tiny", "encoder_training": "full"}
    return SAMed(**(arguments | changes))


def test_vit_b_rank_4_trains_what_samed_does_where_it_can_learn():
    """SAMed counts 6220 parameters of the prompt encoder and 4,759,945 of the decoder, the quality head's 133,897 and
    what encodes prompts among them, none of which ever gets a gradient."""
    with torch.device("meta"):
        network = SAMed(num_classes=8, image_size=224)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == 147_456 + 256 + 4_759_945 - 133_897


@pytest.mark.parametrize(("layers", "total_m"), [(2, 92.192), (4, 95.352), (6, 98.511)])
def test_parameters_of_a_deeper_decoder(layers, total_m):
    """A layer at SAM's widths has 1 579 520; docs/hsam.md compares them with H-SAM's Table 6."""
    with torch.device("meta"):
        network = SAMed(num_classes=8, image_size=512, decoder_layers=layers)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(total_m, abs=5e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("classes", [1, 15])
@torch.no_grad()
def test_evaluation_returns_one_tensor(channels, classes):
    network = make_samed(num_classes=classes, in_channels=channels).eval()
    assert network(torch.rand(2, channels, 64, 64)).shape == (2, classes + 1, 64, 64)
    volume = network(torch.rand(2, channels, 64, 64, 3))
    assert volume.shape == (2, classes + 1, 64, 64, 3)
    assert volume.dtype == torch.float32


def test_training_returns_full_and_low_resolution():
    full, low = make_samed()(torch.rand(2, 1, 64, 64))
    assert full.shape == (2, 3, 64, 64)
    assert low.shape == (2, 3, 16, 16)
    full, low = make_samed()(torch.rand(1, 1, 64, 64, 2))
    assert full.shape == (1, 3, 64, 64, 2)
    assert low.shape == (1, 3, 16, 16, 2)


@torch.no_grad()
def test_slices_of_a_volume_are_segmented_one_by_one():
    network = make_samed().eval()
    volume = torch.rand(2, 1, 64, 64, 3)
    alone = network(volume[1:, ..., 2])[0]
    torch.testing.assert_close(network(volume)[1, ..., 2], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_another_size_than_built_for(small_backbone):
    network = make_samed(backbone=small_backbone).eval()
    assert network(torch.rand(1, 1, 96, 128)).shape == (1, 3, 96, 128)


def test_channels_enter_in_pixel_statistics():
    one = make_samed(pixel_mean=(0.1, 0.2, 0.3), pixel_std=(0.5, 1.0, 2.0))
    torch.testing.assert_close(
        one.normalise(torch.full((1, 1, 16, 16), 0.6))[0, :, 0, 0], torch.tensor([1.0, 0.4, 0.15])
    )
    two = make_samed(in_channels=2, pixel_mean=(0, 0, 0), pixel_std=(1, 1, 1))
    image = torch.stack([torch.zeros(16, 16), torch.ones(16, 16)]).unsqueeze(0)
    torch.testing.assert_close(two.normalise(image), torch.full((1, 3, 16, 16), 0.5))


def test_meta_tensors_keep_their_meta_data():
    network, image = make_samed(), MetaTensor(torch.rand(1, 1, 64, 64), affine=torch.eye(4) * 2)
    assert type(network(image)[0]) is torch.Tensor
    with torch.no_grad():
        logits = network.eval()(image)
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, image.affine)


@pytest.mark.parametrize(
    ("encoder_training", "encoder_trained"), [("lora", "lora"), ("full", ""), ("frozen", "nothing")]
)
def test_what_is_trained(small_backbone, encoder_training, encoder_trained):
    network = make_samed(backbone=small_backbone, encoder_training=encoder_training, in_channels=2)
    for name, value in network.named_parameters():
        if name.startswith("image_encoder."):
            assert value.requires_grad == (encoder_trained in name), name
        elif name.startswith(("prompt_encoder.", "mask_decoder.iou_prediction_head.")):
            assert value.requires_grad == (name == "prompt_encoder.no_mask_embed.weight"), name
        else:
            assert value.requires_grad, name


def test_all_that_is_trained_gets_gradient():
    network = make_samed(in_channels=2)
    sum(logits.square().mean() for logits in network(torch.rand(1, 2, 64, 64))).backward()
    assert all((value.grad is not None) == value.requires_grad for value in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder_training": "adapter"}, "encoder_training must be one of .*got 'adapter'"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"image_size": 100}, "multiples of 16"),
        ({"backbone": "vit_x"}, "backbone must be one of"),
        ({"decoder_layers": 1}, "decoder_layers must be at least SAM's 2, got 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_samed(**arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 64), "image must be"),
        ((1, 2, 64, 64), "1 channels, got 2"),
        ((1, 1, 60, 64), "multiples of 16"),
    ],
)
def test_bad_images(shape, message):
    with pytest.raises(ValueError, match=message):
        make_samed()(torch.rand(shape))


def test_null_weights_are_said_to_be_random(caplog):
    with caplog.at_level(logging.INFO, logger="pgsam_monai"):
        make_samed()
    assert "random weights" in caplog.text


@torch.no_grad()
def test_weights_from_a_file_in_the_official_layout(small_backbone, tmp_path, caplog):
    original = make_original(224)
    file = tmp_path / "sam.pth"
    torch.save(original.state_dict(), file)
    with caplog.at_level(logging.INFO, logger="pgsam_monai"):
        network = make_samed(
            backbone=small_backbone, image_size=224, weights=str(file), encoder_training="lora"
        )
    assert "sam.pth" in caplog.text
    image = torch.rand(1, 1, 224, 224)
    torch.testing.assert_close(
        network.image_encoder(network.normalise(image)),
        original.image_encoder(network.normalise(image)),
        atol=1e-5,
        rtol=1e-5,
    )


def test_weights_fill_the_first_two_layers_of_a_deeper_decoder(small_backbone, tmp_path):
    original = make_original(64)
    torch.save(original.state_dict(), tmp_path / "sam.pth")
    changes = {"backbone": small_backbone, "encoder_training": "lora", "decoder_layers": 4}
    network, random = make_samed(weights=str(tmp_path / "sam.pth"), **changes), make_samed(**changes)
    layers, anew = network.mask_decoder.transformer.layers, random.mask_decoder.transformer.layers
    for index, taken in enumerate([*original.mask_decoder.transformer.layers, *anew[2:]]):
        for name, value in taken.state_dict().items():
            torch.testing.assert_close(layers[index].state_dict()[name], value, atol=0, rtol=0)
    full, _ = network(torch.rand(1, 1, 64, 64))
    full.square().mean().backward()
    assert all(value.grad is not None for value in layers.parameters())


def test_copies_pickles_and_state_dicts(small_backbone, tmp_path):
    network = make_samed(backbone=small_backbone, encoder_training="lora").eval()
    image = torch.rand(1, 1, 64, 64)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    loaded = make_samed(backbone=small_backbone, encoder_training="lora").eval()
    loaded.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    with torch.no_grad():
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), loaded):
            torch.testing.assert_close(other(image), network(image), atol=0, rtol=0)


def test_another_networks_checkpoint_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match=r"another network: num_classes 3 \(this network: 2\)"):
        make_samed().load_state_dict(make_samed(num_classes=3).state_dict())
    with pytest.raises(ValueError, match=r"another network: decoder_layers 4 \(this network: 2\)"):
        make_samed().load_state_dict(make_samed(decoder_layers=4).state_dict())


def test_monai_takes_over_what_fits_of_another_network():
    source, target = make_samed(num_classes=3), make_samed()
    torch.nn.init.constant_(source.image_encoder.pos_embed, 7.0)
    copy_model_state(target, source)
    assert (target.image_encoder.pos_embed == 7).all()


def test_monai_checkpoint_loader(tmp_path):
    source, target = make_samed(), make_samed()
    torch.nn.init.constant_(source.image_encoder.pos_embed, 7.0)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    CheckpointLoader(str(tmp_path / "model.pt"), {"model": target})(Engine(lambda engine, batch: None))
    assert (target.image_encoder.pos_embed == 7).all()


def test_overfits_eight_images_of_blobs():
    generator = torch.Generator().manual_seed(0)
    label = torch.nn.functional.interpolate(
        torch.randint(0, 4, (8, 1, 6, 6), generator=generator).float(), size=64, mode="nearest-exact"
    ).long()
    image = label.float() / 4 + 0.1 * torch.rand(label.shape, generator=generator)
    network = make_samed(num_classes=3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(network(image)[0], label[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (network.eval()(image).argmax(1) == label[:, 0]).float().mean()
    assert accuracy > 0.9


@pytest.mark.parametrize("encoder_training", ["full", "lora"])
def test_trains_in_bfloat16(small_backbone, encoder_training):
    network = make_samed(backbone=small_backbone, encoder_training=encoder_training)
    with torch.autocast("cpu", torch.bfloat16):
        full, low = network(torch.rand(1, 1, 64, 64))
    assert full.dtype == low.dtype == torch.float32
    (full.square().mean() + low.square().mean()).backward()
    gradients = [value.grad for value in network.image_encoder.parameters() if value.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
