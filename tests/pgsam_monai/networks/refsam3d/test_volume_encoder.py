import warnings

import pytest
import torch

from pgsam_monai.base.backbones import VOLUME_BACKBONES
from pgsam_monai.networks.refsam3d.adapter import VolumeAdapter
from pgsam_monai.networks.refsam3d.backbones import build_volume_encoder
from pgsam_monai.networks.refsam3d.encoder import VolumeEncoder, choose_trained
from pgsam_monai.networks.sam.builders import build_sam


@pytest.fixture
def make():
    """An encoder of four small blocks, shaken so that everything matters."""

    def build(**changes):
        torch.manual_seed(0)
        settings = {
            "patch": (48, 32, 16), "token_size": (8, 8, 4), "embed_dim": 16, "depth": 4, "heads": 2,
            "mlp_ratio": 2, "relative_positions": True, "window": (4, 4, 2), "out_channels": 8,
        }  # fmt: skip
        encoder = VolumeEncoder(**settings | changes)
        for name, value in encoder.named_parameters():
            if "pos" in name or "embed" in name or ".up." in name:
                torch.nn.init.normal_(value, std=0.3)
        return encoder.eval()

    return build


@torch.no_grad()
def test_adapter_starts_as_nothing_and_sees_26_neighbours():
    torch.manual_seed(0)
    adapter = VolumeAdapter(6)
    tokens = torch.randn(1, 5, 5, 5, 6)
    assert torch.equal(adapter(tokens), tokens)
    assert adapter.down.out_features == 3
    torch.nn.init.normal_(adapter.up.weight)
    adapter.down.bias.fill_(5.0)  # away from where ReLU is flat
    adapter.conv.weight.abs_()
    changed = tokens.clone()
    changed[0, 2, 2, 2] += torch.arange(6.0)
    moved = (adapter(changed) - adapter(tokens)).abs().amax(-1)[0] > 1e-6
    expected = torch.zeros(5, 5, 5, dtype=torch.bool)
    expected[1:4, 1:4, 1:4] = True
    assert torch.equal(moved, expected)


@torch.no_grad()
def test_adapter_has_no_activation_after_the_up_projection():
    adapter = VolumeAdapter(4, width=1)
    adapter.up.bias.fill_(-3.0)
    tokens = torch.ones(1, 1, 1, 1, 4)
    torch.testing.assert_close(adapter(tokens), tokens - 3)


@pytest.mark.parametrize("size", [(48, 32, 16), (32, 56, 4), (8, 8, 28)])
@torch.no_grad()
def test_four_taps_at_any_multiple_of_the_token(make, size):
    features = make().encode(torch.randn(2, 3, *size))
    grid = (size[0] // 8, size[1] // 8, size[2] // 4)
    assert [tuple(tap.shape) for tap in features] == [(2, 8, *grid)] * 4


@torch.no_grad()
def test_taps_are_evenly_spaced(make):
    encoder = make(depth=8)
    image = torch.randn(1, 3, 16, 16, 8)
    before = encoder.encode(image)
    torch.nn.init.normal_(
        encoder.blocks[4].mlp.lin2.weight
    )  # the fifth of eight blocks: after the second tap
    after = encoder.encode(image)
    assert [torch.equal(old, new) for old, new in zip(before, after, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    assert torch.equal(encoder(image), after[3])


@torch.no_grad()
def test_position_is_the_planes_plus_the_depths(make):
    encoder = make()
    encoder.patch_embed.proj.weight.zero_()
    encoder.patch_embed.proj.bias.zero_()
    tokens = encoder._embed(torch.zeros(1, 3, 48, 32, 16))
    expected = encoder.pos_embed[0, 3, 2] + encoder.depth_embed[0, 0, 0, 1]
    torch.testing.assert_close(tokens[0, 3, 2, 1], expected)
    twice_as_deep = encoder._embed(torch.zeros(1, 3, 48, 32, 32))
    between = 0.75 * encoder.depth_embed[0, 0, 0, 0] + 0.25 * encoder.depth_embed[0, 0, 0, 1]
    torch.testing.assert_close(twice_as_deep[0, 3, 2, 1], encoder.pos_embed[0, 3, 2] + between)


def test_every_second_block_shifts_its_windows(make):
    """With windows of two tokens, the first block joins 0 and 1, the second 1 and 2: two blocks carry 0 to 2."""
    encoder = make(adapters=False, window=2, depth=4)
    image = torch.randn(1, 3, 8, 8, 16, requires_grad=True)  # four tokens along depth
    first_tap = encoder.encode(image)[0]
    second = encoder.encode(image)[1]
    reach = []
    for tap in (first_tap, second):
        tap = tap.detach() * 0 + tap
        (gradient,) = torch.autograd.grad(tap[0, :, 0, 0, 0].square().sum(), image)
        reach.append([bool((gradient[..., 4 * i : 4 * i + 4] != 0).any()) for i in range(4)])
    # The necks' 3 x 3 x 3 convolutions look one token further than the blocks: at token 1.
    assert reach[0] == [True, True, False, False]
    assert reach[1] == [True, True, True, True]


def test_checkpointing_changes_neither_outputs_nor_gradients(make):
    results = []
    for checkpointing in (False, True):
        encoder = make(checkpointing=checkpointing).train()
        choose_trained(encoder, "adapters")
        features = encoder.encode(torch.randn(1, 3, 24, 16, 8, generator=torch.Generator().manual_seed(1)))
        sum((tap * torch.linspace(0, 1, tap.numel()).reshape(tap.shape)).sum() for tap in features).backward()
        gradients = {name: p.grad for name, p in encoder.named_parameters() if p.requires_grad}
        assert all(gradient is not None for gradient in gradients.values())
        results.append((features, gradients))
    torch.testing.assert_close(results[1], results[0])


def test_what_is_trained(make):
    encoder = make()
    names = {name for name, _ in encoder.named_parameters()}
    for training, expected in (("full", names), ("frozen", set())):
        choose_trained(encoder, training)
        assert {name for name, value in encoder.named_parameters() if value.requires_grad} == expected
    choose_trained(encoder, "adapters")
    frozen = {name for name, value in encoder.named_parameters() if not value.requires_grad}
    of_block = [f"attn.{layer}.{kind}" for layer in ("q", "k", "v", "proj") for kind in ("weight", "bias")]
    of_block += [f"mlp.lin{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]
    of_block += ["attn.rel_pos_h", "attn.rel_pos_w"]
    expected = {f"blocks.{i}.{name}" for i in range(4) for name in of_block}
    assert frozen == expected | {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    with pytest.raises(ValueError, match="encoder_training must be one of .*got 'lora'"):
        choose_trained(encoder, "lora")


def test_autocast_follows_and_learns(make):
    encoder = make().train()
    image = torch.randn(1, 3, 24, 16, 8)
    wanted = encoder(image)
    with torch.autocast("cpu", torch.bfloat16):
        out = encoder(image)
    assert (out.float() - wanted).abs().mean() < 0.05
    out.float().square().sum().backward()
    assert all(value.grad.isfinite().all() for value in encoder.blocks.parameters())


@torch.no_grad()
def test_trace_takes_any_batch_and_says_the_same(make):
    encoder = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(encoder, torch.zeros(2, 3, 40, 32, 8), check_trace=False)
    for batch in (1, 3):
        image = torch.randn(batch, 3, 40, 32, 8)  # five rows of tokens: shifted and padded windows
        torch.testing.assert_close(traced(image), encoder(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_onnx_says_the_same(make, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    encoder, file = make(), tmp_path / "encoder.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's
        torch.onnx.export(
            encoder, (torch.zeros(1, 3, 40, 32, 8),), str(file), input_names=["image"], dynamo=False,
            opset_version=17, dynamic_axes={"image": {0: "batch"}},
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(file))
    image = torch.randn(2, 3, 40, 32, 8)
    (out,) = session.run(None, {"image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), encoder(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 6}, "depth must be a multiple of 4 blocks, one part per tap, got 6"),
        ({"patch": (48, 32, 10)}, r"patch: its sides .* multiples of \(8, 8, 4\) voxels, got \(48, 32, 10\)"),
        ({"window": (4, 4)}, "window must be three numbers"),
        ({"window": 0}, "window must be three numbers of at least 1"),
    ],
)
def test_bad_arguments(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_plain_vits_are_offered_and_no_other():
    assert set(VOLUME_BACKBONES) == {
        "vit_b",
        "vit_l",
        "vit_h",
        "efficient_sam_ti",
        "efficient_sam_s",
        "vit_mini",
    }
    for name in ("vit_tiny", "mobile_sam"):
        with pytest.raises(
            ValueError, match=f"one of vit_mini, vit_b, .*, got '{name}', which is made of 2-D convolutions"
        ):
            build_volume_encoder(name, patch=(64, 64, 8), token_size=(16, 16, 4))
    with pytest.raises(ValueError, match="got 'vit_b16'. Did you mean 'vit_b'"):
        build_volume_encoder("vit_b16", patch=(64, 64, 8), token_size=(16, 16, 4))


def test_what_is_trained_of_vit_b_is_little():
    """Section 3.2: 12 adapters of 768 → 384 → 768 and a depth-wise 3³ hold 602 k weights each; the necks 7.9 M."""
    with torch.device("meta"):
        encoder = build_volume_encoder("vit_b", patch=(128, 128, 128), token_size=(16, 16, 16))
        sam = build_sam(backbone="vit_b", image_size=1024, num_classes=1).image_encoder
    choose_trained(encoder, "adapters")
    assert (
        sum(p.numel() for p in encoder.blocks[0].adapter.parameters()) == 768 * 384 * 2 + 384 * 28 + 384 + 768
    )
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert trained / 1e6 == pytest.approx(15.2, abs=0.1)
    assert trained < 0.2 * sum(p.numel() for p in sam.parameters())


@torch.no_grad()
def test_vit_mini_is_small():
    encoder = build_volume_encoder("vit_mini", patch=(32, 32, 8), token_size=(8, 8, 2))
    assert encoder(torch.randn(1, 1, 32, 32, 8).expand(-1, 3, -1, -1, -1)).shape == (1, 256, 4, 4, 4)
    assert sum(p.numel() for p in encoder.blocks.parameters()) < 2e6
