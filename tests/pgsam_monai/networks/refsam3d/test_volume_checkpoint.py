import logging

import pytest
import small_sam
import torch
from efficient_original import make_efficient_original
from segment_anything import sam_model_registry
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import nn

from pgsam_monai.base.backbones import Vit
from pgsam_monai.networks.refsam3d.backbones import build_volume_encoder
from pgsam_monai.networks.refsam3d.checkpoint import fit_relative, inflate, load_volume_state
from pgsam_monai.networks.refsam3d.encoder import VolumeEncoder

FOUR_GLOBAL = Vit(embed_dim=32, depth=4, heads=2, global_blocks=(0, 1, 2, 3), parameters_m=0.1)
TWO_GLOBAL = Vit(embed_dim=32, depth=4, heads=2, global_blocks=(1, 3), parameters_m=0.1)


def make_network(encoder=None, **changes):
    """The parts that take SAM's weights, with an encoder of the small sizes unless one is given."""
    settings = {
        "patch": (96, 96, 16), "token_size": (16, 16, 4), "embed_dim": 32, "depth": 4, "heads": 2, "mlp_ratio": 4,
        "relative_positions": True, "window": (4, 4, 4),
    }  # fmt: skip
    network = nn.Module()
    network.image_encoder = encoder or VolumeEncoder(**settings | changes)
    network.prompt_encoder, network.mask_decoder = nn.Module(), nn.Module()
    network.prompt_encoder.pe_layer = PositionEmbeddingRandom(128)
    network.prompt_encoder.no_mask_embed = nn.Embedding(1, 256)
    network.mask_decoder.transformer = TwoWayTransformer(
        depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048
    )
    network.mask_decoder.base_query = nn.Parameter(torch.zeros(1, 256))
    network.mask_decoder.stages = nn.ModuleList([nn.Conv3d(1, 1, 1)])
    network.projector = nn.Linear(2, 2)  # no part of SAM's three: not mentioned
    return network.eval()


@pytest.fixture
def original(monkeypatch):
    """`segment_anything`'s own parts with four small blocks at a size in pixels."""

    def build(image_size, sizes):
        monkeypatch.setattr(small_sam, "SMALL", sizes)
        return small_sam.make_original(image_size)

    return build


@pytest.mark.parametrize(("p", "p_d"), [(16, 1), (16, 4), (8, 2), (4, 1)])
@torch.no_grad()
def test_slices_that_do_not_meet_are_encoded_as_sam_encodes_them(original, p, p_d):
    """Windows one token deep, one slice per token, no adapter trained yet: the deepest tap is SAM's embedding."""
    sam = original(96, FOUR_GLOBAL)
    side = 6 * p
    network = make_network(patch=(side, side, 3 * p_d), token_size=(p, p, p_d), window=(6, 6, 1))
    report = load_volume_state(network, sam.state_dict(), source="sam.pth")
    assert report.resized == ()
    network.image_encoder.patch_embed.depth.zero_()[:, -1] = 1
    image = torch.randn(2, 3, side, side, 3 * p_d)
    embedding = network.image_encoder(image)
    for token in range(3):
        enlarged = nn.functional.interpolate(image[..., (token + 1) * p_d - 1], scale_factor=16 // p)
        expected = sam.image_encoder(enlarged)
        torch.testing.assert_close(embedding[..., token], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_every_weight_of_the_image_encoder_lands(original):
    """Each entry is told apart by a number of its own, which every one of ours made of it must show."""
    state = original(192, TWO_GLOBAL).state_dict()
    marked = {key: torch.full_like(value, index + 1.0) for index, (key, value) in enumerate(state.items())}
    network = make_network()
    report = load_volume_state(network, marked, source="sam.pth")
    filled = network.state_dict()
    seen = set()
    for key in (*report.loaded, *report.resized, *report.inflated):
        assert filled[key].max() > 0, key
        seen.add(filled[key].max().item())
    encoder_numbers = {value.flatten()[0].item() for key, value in marked.items() if "image_encoder" in key}
    of_decoder = {value.flatten()[0].item() for key, value in marked.items() if ".transformer." in key}
    assert encoder_numbers | of_decoder <= seen
    gained = {*report.loaded, *report.resized, *report.inflated, *report.new}
    assert gained == {key for key in filled if not key.startswith("projector")}


@torch.no_grad()
def test_what_is_new_is_told(original, caplog):
    with caplog.at_level(logging.INFO):
        report = load_volume_state(make_network(), original(96, TWO_GLOBAL).state_dict(), source="sam.pth")
    adapter = [f"{layer}.{kind}" for layer in ("down", "conv", "up") for kind in ("weight", "bias")]
    assert set(report.new) == {
        "image_encoder.patch_embed.depth", "image_encoder.depth_embed",
        "mask_decoder.stages.0.weight", "mask_decoder.stages.0.bias",
        *(f"image_encoder.blocks.{i}.adapter.{name}" for i in range(4) for name in adapter),
    }  # fmt: skip
    assert "mask_decoder.mask_tokens.weight" not in report.unused
    assert "mask_decoder.iou_token.weight" in report.unused
    assert not any(key.startswith("image_encoder.") for key in report.unused)
    (message,) = caplog.messages
    assert "from 'sam.pth'" in message and message.count("adapter.down.weight") == 1
    assert "image_encoder.blocks.*.adapter.up.bias, " in message and "mask_decoder.stages.*.weight" in message


@torch.no_grad()
def test_tables_keep_the_meaning_of_offsets(original):
    state = original(192, TWO_GLOBAL).state_dict()  # windowed tables of 27 rows, global ones of 23
    network = make_network(window=(4, 3, 2))
    load_volume_state(network, state, source="sam.pth")
    for index, middle in ((0, 13), (1, 11)):
        attention = network.image_encoder.blocks[index].attn
        h, w = (state[f"image_encoder.blocks.{index}.attn.rel_pos_{axis}"] for axis in "hw")
        assert torch.equal(attention.rel_pos_h, h[middle - 3 : middle + 4])
        assert torch.equal(attention.rel_pos_w, w[middle - 2 : middle + 3])
        mean = (h[middle - 1 : middle + 2] + w[middle - 1 : middle + 2]) / 2
        torch.testing.assert_close(attention.rel_pos_d, mean)


def test_offsets_beyond_a_table_are_as_its_outermost():
    table = torch.arange(3.0).unsqueeze(1)  # offsets -1, 0, 1
    assert fit_relative(table, 7).flatten().tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert fit_relative(table, 1).flatten().tolist() == [1]


@torch.no_grad()
def test_neck_query_and_positions(original):
    state = original(192, TWO_GLOBAL).state_dict()
    network = make_network()
    report = load_volume_state(network, state, source="sam.pth")
    for neck in network.image_encoder.necks:
        assert torch.equal(neck[0].weight[..., 0], state["image_encoder.neck.0.weight"])
        assert torch.equal(neck[2].weight, inflate(state["image_encoder.neck.2.weight"], 3))
        assert torch.equal(neck[2].weight[..., 1], state["image_encoder.neck.2.weight"])
        assert torch.equal(neck[3].bias, state["image_encoder.neck.3.bias"])
    assert torch.equal(network.mask_decoder.base_query[0], state["mask_decoder.mask_tokens.weight"][0])
    table = state["image_encoder.pos_embed"]  # 12 x 12 to 6 x 6: bilinear halving is the mean of four
    assert "image_encoder.pos_embed" in report.resized
    torch.testing.assert_close(network.image_encoder.pos_embed[0, 0, 0], table[0, :2, :2].mean((0, 1)))


@torch.no_grad()
def test_efficient_sam_lands():
    state = make_efficient_original(96, depth=4).state_dict()
    network = make_network(relative_positions=False)
    report = load_volume_state(network, {"model": state}, source="efficient.pt")
    weight = state["image_encoder.blocks.3.mlp.fc2.weight"]
    assert torch.equal(network.image_encoder.blocks[3].mlp.lin2.weight, weight)
    assert not any(key.startswith(("image_encoder.", "mask_decoder.transformer.")) for key in report.unused)


@pytest.mark.parametrize("backbone", ["vit_b", "vit_l", "vit_h"])
def test_published_shapes_fit(backbone):
    with torch.device("meta"):
        state = sam_model_registry[backbone](checkpoint=None).state_dict()
        encoder = build_volume_encoder(backbone, patch=(128, 128, 64), token_size=(8, 8, 4))
        report = load_volume_state(make_network(encoder), state, source="sam.pth")
    blocks = len(encoder.blocks)
    assert len(report.inflated) == 4 * 2 + blocks  # the necks' kernels and rel_pos_d
    assert len(report.resized) == 1 + 2 * blocks  # the tables: 64 x 64, and 27 or 127 rows to 15
    assert not any(key.startswith("image_encoder.") for key in report.unused)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image_encoder.extra": torch.zeros(1)}, "'image_encoder.extra' is unknown"),
        ({"image_encoder.neck.1.bias": None}, "'image_encoder.neck.1.bias' is missing"),
        ({"prompt_encoder.no_mask_embed.weight": None}, "'prompt_encoder.no_mask_embed.weight' is missing"),
        ({"prompt_encoder.depth": torch.zeros(1)}, "'prompt_encoder.depth' is unknown"),
        (
            {"image_encoder.neck.2.weight": torch.zeros(256, 8, 3, 3)},
            r"'image_encoder.necks.0.2.weight' would have shape \(256, 8, 3, 3, 3\), wanted \(256, 256, 3, 3, 3\)",
        ),
    ],
)
def test_faults_are_listed_and_nothing_is_loaded(original, change, fault):
    state = {**original(96, TWO_GLOBAL).state_dict(), **change}
    network = make_network()
    before = network.image_encoder.pos_embed.clone()
    with pytest.raises(ValueError, match=f"'sam.pth' don't fit this network .*{fault}"):
        load_volume_state(network, {k: v for k, v in state.items() if v is not None}, source="sam.pth")
    assert torch.equal(network.image_encoder.pos_embed, before)


def test_weights_of_another_backbone_are_refused(original):
    network = make_network(depth=8)
    with pytest.raises(ValueError, match="'image_encoder.blocks.4.* is missing"):
        load_volume_state(network, original(96, TWO_GLOBAL).state_dict(), source="sam.pth")
