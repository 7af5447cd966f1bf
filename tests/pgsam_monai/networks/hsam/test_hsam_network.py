"""The whole network: both stages, their average, what is trained, what each part changes, sizes and backbones."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_sam import make_original
from torch.nn import functional as F

from pgsam_monai.networks.description import pack_description
from pgsam_monai.networks.hsam import HSAM
from pgsam_monai.networks.hsam.second_stage import mask_features, prior
from pgsam_monai.networks.sam.mask_decoder import Decoded

ROUNDING = 1e-15
"""Of gradients in double precision: those of parameters without effect are below 1e-18, all others above 1e-12."""
WITHOUT_EFFECT = (
    "k_proj.bias",
    "attn.k.bias",
    *(f"patch_embed.stage_{n}.{m}.bias" for n in (2, 4, 8) for m in (0, 3)),
)
"""Cancelled by a softmax or a norm, as in PG-SAM's test."""


def make_hsam(**changes):
    torch.manual_seed(0)
    arguments = {
        "num_classes": 2, "image_size": 64, "backbone": "vit_tiny", "encoder_training": "full",
    }  # fmt: skip
    return HSAM(**(arguments | changes))


@pytest.mark.parametrize("size", [128, 224, 512])
@pytest.mark.parametrize("classes", [1, 2, 8, 15])
@torch.no_grad()
def test_sizes_and_classes(size, classes):
    network = make_hsam(image_size=size, num_classes=classes).eval()
    assert network(torch.rand(1, 1, size, size)).shape == (1, classes + 1, size, size)


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_batches_volumes_and_any_other_size(batch):
    network = make_hsam(num_classes=3).eval()
    assert network(torch.rand(batch, 1, 64, 64)).shape == (batch, 4, 64, 64)
    assert network(torch.rand(1, 1, 64, 64, batch)).shape == (1, 4, 64, 64, batch)
    assert network(torch.rand(batch, 1, 96, 48)).shape == (batch, 4, 96, 48)


@pytest.mark.parametrize(("backbone", "size"), [("vit_b", 128), ("vit_l", 64)])
@torch.no_grad()
def test_sams_own_backbones(backbone, size):
    network = make_hsam(backbone=backbone, image_size=size, encoder_training="lora").eval()
    assert network(torch.rand(1, 1, size, size)).shape == (1, 3, size, size)


@pytest.mark.parametrize(("backbone", "stride"), [("vit_tiny", 16), ("lite_medsam", 4)])
@torch.no_grad()
def test_the_second_stage_ends_at_the_images_own_size(backbone, stride):
    network = make_hsam(backbone=backbone, image_size=32, noise_std=0.0)
    second, first = network.decode(torch.rand(1, 1, 32, 48), None)
    assert second.shape == (1, 3, 32, 48)
    assert first.shape == (1, 3, 4 * 32 // stride, 4 * 48 // stride)


def test_training_gives_both_stages_in_two_and_three_dimensions():
    network = make_hsam()
    second, first = network(torch.rand(2, 1, 64, 64), label=torch.ones(2, 1, 64, 64))
    assert second.shape == (2, 3, 64, 64) and first.shape == (2, 3, 16, 16)
    assert second.dtype == first.dtype == torch.float32
    second, first = network(torch.rand(2, 1, 64, 64, 3), label=torch.ones(2, 1, 64, 64, 3))
    assert second.shape == (2, 3, 64, 64, 3) and first.shape == (2, 3, 16, 16, 3)


@torch.no_grad()
def test_evaluation_averages_the_stages_probabilities():
    network = make_hsam(noise_std=0.0, dropout=0.0)
    image = torch.rand(2, 1, 64, 64)
    second, first = network.train()(image)
    first = F.interpolate(first, size=(64, 64), mode="bilinear", align_corners=False)
    expected = (second.softmax(1) + first.softmax(1)) / 2
    torch.testing.assert_close(network.eval()(image).softmax(1), expected)
    network.ensemble = "second"
    torch.testing.assert_close(network(image), second)


@torch.no_grad()
def test_the_decoders_evaluate_in_float32_whatever_the_encoder_does():
    network = make_hsam(encoder_training="frozen").eval()
    seen = []
    network.second_stage.pixel_decoder.register_forward_hook(
        lambda module, given, out: seen.append(out.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(1, 1, 64, 64))
        network.train()(torch.rand(1, 1, 64, 64), label=torch.ones(1, 1, 64, 64))
    assert seen == [torch.float32, torch.bfloat16]


@torch.no_grad()
def test_prior_and_mask_features_by_hand():
    """4 × 4 masks become 1 × 1: bilinear by 4 takes the mean of the middle four; features are dot products."""
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 1, 1:3, 1:3] = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    torch.testing.assert_close(prior(masks)[0, 1, 0, 0], torch.tensor(2.0).sigmoid())
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [2.0, 3.0]]])  # the first is the quality token
    source = torch.tensor([[[[5.0]], [[7.0]]]])
    decoded = Decoded(masks, tokens, source, source)
    assert mask_features(decoded).flatten().tolist() == [5.0, 31.0]


def gradients_after_one_step(network):
    """The gradients of a second step: LoRA's A gets none in the first, while its B is zero."""
    network = network.double()
    image, label = torch.rand(2, 1, 64, 64).double(), torch.randint(network.num_classes + 1, (2, 1, 64, 64))
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        full, low = network(image, label=label.float())
        (F.cross_entropy(full, label[:, 0]) + F.cross_entropy(low, label[:, 0, ::4, ::4])).backward()
        gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        optimizer.step()
    return gradients


@pytest.mark.parametrize("training", ["lora", "full", "frozen"])
@pytest.mark.parametrize(
    "parts", [("learnable", True, True), ("binary", False, False), ("none", True, False)]
)
def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one(training, parts):
    mask_attention, class_attention, pixel_decoder = parts
    network = make_hsam(
        encoder_training=training, rank=2, mask_attention=mask_attention, class_attention=class_attention,
        pixel_decoder=pixel_decoder,
    ).train()  # fmt: skip
    gradients = gradients_after_one_step(network)
    assert gradients.keys() == {name for name, p in network.named_parameters() if p.requires_grad}
    size = {name: float(gradient.norm()) / gradient.numel() ** 0.5 for name, gradient in gradients.items()}
    assert [name for name in size if size[name] < ROUNDING and not name.endswith(WITHOUT_EFFECT)] == []
    if class_attention:
        assert size["second_stage.class_attention.compress.weight"] > 1e-7


@torch.no_grad()
def test_replacing_the_gates_input_by_noise_changes_the_output(monkeypatch):
    """In the released code it doesn't: a softmax over one channel is 1."""
    network = make_hsam().eval()
    torch.nn.init.normal_(network.second_stage.class_attention.compress.weight)
    image = torch.rand(1, 1, 64, 64)
    whole = network(image)
    monkeypatch.setattr(
        "pgsam_monai.networks.hsam.second_stage.mask_features", lambda first: torch.randn(1, 3, 4, 4)
    )
    assert (network(image) - whole).abs().max() > 1e-2


@pytest.mark.parametrize(
    "parts", list(itertools.product(["learnable", "binary", "none"], [True, False], [True, False]))
)
def test_every_combination_of_the_parts_runs_and_is_told_apart(parts):
    mask_attention, class_attention, pixel_decoder = parts
    network = make_hsam(
        mask_attention=mask_attention, class_attention=class_attention, pixel_decoder=pixel_decoder
    )
    second, first = network(torch.rand(1, 1, 64, 64), label=torch.ones(1, 1, 64, 64))
    assert second.shape == (1, 3, 64, 64) and first.shape == (1, 3, 16, 16)
    assert network.description["mask_attention"] == mask_attention
    other = make_hsam(
        mask_attention=mask_attention, class_attention=not class_attention, pixel_decoder=pixel_decoder
    )
    with pytest.raises((ValueError, RuntimeError)):
        other.load_state_dict(network.state_dict())


@torch.no_grad()
def test_mask_attention_changes_the_output_with_the_same_weights(monkeypatch):
    sharp = "pgsam_monai.networks.hsam.second_stage.prior"  # untrained masks hold no class by more than half
    monkeypatch.setattr(sharp, lambda masks: prior(100 * masks))
    image = torch.rand(1, 1, 64, 64)
    outputs = []
    for kind in ("learnable", "binary", "none"):
        network = make_hsam(mask_attention=kind).eval()  # the same seed, the same parameters
        outputs.append(network(image))
    for one, other in itertools.combinations(outputs, 2):
        assert (one - other).abs().max() > 1e-4


def test_the_noise_needs_labels_in_training():
    with pytest.raises(ValueError, match="needs the labels.*noise_std=0"):
        make_hsam()(torch.rand(1, 1, 64, 64))
    make_hsam(noise_std=0.0)(torch.rand(1, 1, 64, 64))
    make_hsam().eval()(torch.rand(1, 1, 64, 64))


def test_noise_changes_training_and_follows_torchs_seed():
    network = make_hsam(class_frequencies=[0.9, 0.09, 0.01], noise_std=2.0, dropout=0.0)
    image, label = torch.rand(1, 1, 64, 64), torch.full((1, 1, 64, 64), 2.0)
    torch.nn.init.normal_(network.second_stage.class_attention.compress.weight)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(network(image, label=label)[0].detach())
    torch.testing.assert_close(outputs[0], outputs[1], atol=0, rtol=0)
    assert (outputs[0] - outputs[2]).abs().max() > 1e-4


@pytest.mark.parametrize("start", ["sam", "rescaled"])
def test_the_second_stage_starts_from_sams_decoder(small_backbone, tmp_path, start):
    """Rescaled, the masked attentions' last weights are K + 1 = 3 times SAM's, and nothing else is."""
    file = tmp_path / "sam.pth"
    torch.save(make_original(64).state_dict(), file)
    network = make_hsam(
        backbone=small_backbone, weights=str(file), encoder_training="lora", second_stage_start=start
    )
    first, second = network.mask_decoder, network.second_stage
    for name, value in first.transformer.state_dict().items():
        masked = name.startswith("layers.") and ".cross_attn_" in name and name.endswith("out_proj.weight")
        factor = 3 if masked and start == "rescaled" else 1
        torch.testing.assert_close(second.transformer.state_dict()[name], factor * value, atol=0, rtol=0)
    for name, value in first.output_upscaling.state_dict().items():
        torch.testing.assert_close(
            second.pixel_decoder.output_upscaling.state_dict()[name], value, atol=0, rtol=0
        )


def test_the_second_stage_may_start_from_random_numbers(small_backbone, tmp_path):
    file = tmp_path / "sam.pth"
    torch.save(make_original(64).state_dict(), file)
    changes = {"backbone": small_backbone, "encoder_training": "lora", "second_stage_start": "random"}
    with_weights, without = make_hsam(weights=str(file), **changes), make_hsam(**changes)
    for name, value in without.second_stage.state_dict().items():
        torch.testing.assert_close(with_weights.second_stage.state_dict()[name], value, atol=0, rtol=0)


def test_the_native_grid_is_the_embeddings():
    network = make_hsam(image_size=96, class_attention_grid="native", noise_std=0.0)
    assert network.second_stage.class_attention.grid == 96 // 16
    tiny = make_hsam(backbone="lite_medsam", image_size=32, class_attention_grid="native", noise_std=0.0)
    assert tiny.second_stage.class_attention.grid == 32 // 4
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 1, 64, 128)).shape == (1, 3, 64, 128)


def test_weights_of_another_grid_are_refused_and_those_from_before_fit():
    fixed, native = make_hsam(), make_hsam(class_attention_grid="native")
    with pytest.raises(ValueError, match=r"class_attention_grid 4 \(this network: 14\)"):
        fixed.load_state_dict(native.state_dict())
    before = dict(fixed.description)
    del before["class_attention_grid"], before["decoder_layers"]
    state = make_hsam().state_dict() | {"_extra_state": pack_description(before)}
    fixed.load_state_dict(state)
    with pytest.raises(ValueError, match=r"class_attention_grid 14 \(this network: 4\)"):
        native.load_state_dict(state)


def test_both_stages_are_as_deep():
    network = make_hsam(decoder_layers=3, noise_std=0.0)
    assert len(network.mask_decoder.transformer.layers) == len(network.second_stage.transformer.layers) == 3


@pytest.mark.parametrize(
    ("backbone", "size", "grid", "trained_m", "total_m"),
    [
        ("vit_b", 224, "fixed", 11.517, 98.282),
        ("vit_b", 224, "native", 11.517, 98.282),
        ("vit_b", 512, "fixed", 11.517, 98.936),
        ("vit_b", 512, "native", 18.957, 106.376),
        ("vit_l", 224, "fixed", 11.763, 316.137),
    ],
)
def test_parameter_counts(backbone, size, grid, trained_m, total_m):
    """docs/hsam.md explains the difference from the released code's 12.48, 23.97 and 12.73 million trained ones."""
    with torch.device("meta"):
        network = HSAM(num_classes=8, image_size=size, backbone=backbone, class_attention_grid=grid)
    counts = [(p.numel(), p.requires_grad) for p in network.parameters()]
    assert sum(n for n, trained in counts if trained) / 1e6 == pytest.approx(trained_m, abs=5e-4)
    assert sum(n for n, _ in counts) / 1e6 == pytest.approx(total_m, abs=5e-4)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="learnable, binary, none, got 'soft'"):
        make_hsam(mask_attention="soft")
    with pytest.raises(ValueError, match="mean, second, got 'first'"):
        make_hsam(ensemble="first")
    with pytest.raises(ValueError, match="fixed, native, got '14'"):
        make_hsam(class_attention_grid="14")
    with pytest.raises(ValueError, match="sam, rescaled, random, got 'zero'"):
        make_hsam(second_stage_start="zero")
