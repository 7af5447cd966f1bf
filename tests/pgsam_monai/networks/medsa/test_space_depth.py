"""SD-Trans: slices see slices, in windowed and global blocks, at any size, and never another volume's (Section 3.3)."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pgsam_monai.networks.medsa.encoder import AdaptedBlock, adapt_encoder
from pgsam_monai.networks.medsa.space_depth import DEPTH_FUSIONS, CrossFusion, build_fusion
from pgsam_monai.networks.sam.attention import Block, across_slices
from pgsam_monai.networks.sam.builders import find_backbone
from pgsam_monai.networks.sam.image_encoder import ImageEncoder
from pgsam_monai.networks.sam.tiny_vit import TinyBlock

VOLUMES, DEPTH, SIDE, DIM = 2, 3, 5, 8


def make_block(kind):
    """A windowed (window smaller than the grid), a global or TinyViT's block with position tables that matter."""
    if kind == "tiny":
        block = TinyBlock(DIM, heads=2, window=2)
        torch.nn.init.normal_(block.attn.attention_biases)
        return block.eval()
    block = Block(
        DIM, heads=2, mlp_ratio=2.0, window=2 if kind == "windowed" else 0, grid=SIDE, relative_positions=True
    )
    for table in (block.attn.rel_pos_h, block.attn.rel_pos_w):
        torch.nn.init.normal_(table)
    return block.eval()


def adapted(kind, fusion="add"):
    block = AdaptedBlock(
        make_block(kind), rank=2, scale=0.05, positions=("attention", "mlp"), depth_fusion=fusion
    )
    for name, value in block.named_parameters():
        if "block." not in name:  # adapters and fusions that do something
            torch.nn.init.normal_(value, std=0.3)
    return block.eval()


def make_tokens():
    return torch.randn(VOLUMES * DEPTH, SIDE, SIDE, DIM)


KINDS = pytest.mark.parametrize("kind", ["windowed", "global", "tiny"])
FUSIONS = pytest.mark.parametrize("fusion", [kind for kind in DEPTH_FUSIONS if kind != "none"])


@KINDS
@FUSIONS
@torch.no_grad()
def test_permuting_slices_permutes_the_output(kind, fusion):
    block, tokens = adapted(kind, fusion), make_tokens()
    order = torch.tensor([2, 0, 1])
    permuted = tokens.unflatten(0, (VOLUMES, DEPTH))[:, order].flatten(0, 1)
    expected = block(tokens, DEPTH).unflatten(0, (VOLUMES, DEPTH))[:, order].flatten(0, 1)
    torch.testing.assert_close(block(permuted, DEPTH), expected, rtol=1e-4, atol=1e-5)


@KINDS
@FUSIONS
@torch.no_grad()
def test_a_change_in_one_slice_reaches_the_others_and_no_other_volume(kind, fusion):
    block, tokens = adapted(kind, fusion), make_tokens()
    changed = tokens.clone()
    changed[1] += torch.randn(SIDE, SIDE, DIM)  # the second slice of the first volume
    moved = (block(changed, DEPTH) - block(tokens, DEPTH)).flatten(1).abs().amax(dim=1)
    assert (moved[:3] > 1e-3).all()
    assert (moved[3:] == 0).all()


@KINDS
@torch.no_grad()
def test_the_depth_branch_reaches_across_slices_at_the_same_position_only(kind):
    block, tokens = make_block(kind), make_tokens()
    changed = tokens.clone()
    changed[0, 3, 1] += torch.randn(DIM)
    moved = (block.attend_depth(changed, DEPTH) - block.attend_depth(tokens, DEPTH)).abs().amax(dim=-1) > 1e-6
    expected = torch.zeros(VOLUMES * DEPTH, SIDE, SIDE, dtype=torch.bool)
    expected[:3, 3, 1] = True
    assert torch.equal(moved, expected)


@torch.no_grad()
def test_the_depth_branch_has_the_weights_of_the_space_branch():
    """Against a transcription: N × D × L into the same attention, by one head at a time."""
    block, tokens = make_block("windowed"), make_tokens()
    sequences = (
        block.norm1(tokens).unflatten(0, (VOLUMES, DEPTH)).permute(0, 2, 3, 1, 4).reshape(-1, DEPTH, DIM)
    )
    q, k, v = (
        F.linear(sequences, layer.weight, layer.bias) for layer in (block.attn.q, block.attn.k, block.attn.v)
    )
    heads = [
        (q[..., part] @ k[..., part].transpose(1, 2) / 2).softmax(-1) @ v[..., part]
        for part in (slice(0, 4), slice(4, 8))
    ]
    out = block.attn.proj(torch.cat(heads, dim=-1)).reshape(VOLUMES, SIDE, SIDE, DEPTH, DIM)
    expected = out.permute(0, 3, 1, 2, 4).reshape(VOLUMES * DEPTH, SIDE, SIDE, DIM)
    torch.testing.assert_close(block.attend_depth(tokens, DEPTH), expected)


@KINDS
@torch.no_grad()
def test_two_dimensional_input_is_unaffected(kind):
    block = AdaptedBlock(make_block(kind), rank=2, scale=0.05, positions=(), depth_fusion="add")
    tokens = make_tokens()
    torch.testing.assert_close(block(tokens), block.block(tokens))


@torch.no_grad()
def test_adding_is_the_sum_of_both_branches():
    block = AdaptedBlock(make_block("global"), rank=2, scale=0.05, positions=(), depth_fusion="add")
    tokens, plain = make_tokens(), block.block
    attended = tokens + plain.attend_space(tokens) + plain.attend_depth(tokens, DEPTH)
    torch.testing.assert_close(block(tokens, DEPTH), attended + plain.mlp(plain.norm2(attended)))


@torch.no_grad()
def test_gated_concat_and_cross_start_as_the_network_without_depth():
    tokens = make_tokens()
    for fusion in ("gated", "concat", "cross"):
        block = AdaptedBlock(
            make_block("global"), rank=2, scale=0.05, positions=("mlp",), depth_fusion=fusion
        )
        torch.testing.assert_close(block(tokens, DEPTH), block.block(tokens))


@torch.no_grad()
def test_slices_are_regrouped_by_position():
    """Four slices of two volumes, 1 × 2 positions, numbers that name volume, slice and position."""
    tokens = torch.tensor([[[[0.0], [1.0]]], [[[10.0], [11.0]]], [[[100.0], [101.0]]], [[[110.0], [111.0]]]])
    sequences = []

    def reverse(columns):
        sequences.extend(columns.squeeze(-1).tolist())
        return columns.flip(1)

    out = across_slices(reverse, tokens, 2)
    assert sequences == [[0, 10], [1, 11], [100, 110], [101, 111]]
    assert out.flatten().tolist() == [10, 11, 0, 1, 110, 111, 100, 101]


def test_cross_attention_has_table_8s_parameters():
    vit_b = find_backbone("vit_b")
    count = sum(value.numel() for value in CrossFusion(vit_b.embed_dim, heads=vit_b.heads).parameters())
    assert round(vit_b.depth * count / 1e6, 1) == 28.3


@torch.no_grad()
def test_any_size_of_image_and_any_depth_pass_windowed_and_global_blocks():
    encoder = ImageEncoder(image_size=64, embed_dim=16, depth=2, heads=2, global_blocks=(1,), window=2)
    adapt_encoder(encoder, rank=2, scale=0.05, layers=None, positions=("mlp",), depth_fusion="add")
    for height, width, depth in ((64, 64, 2), (48, 80, 5), (112, 16, 1)):
        embedding = encoder.encode(torch.rand(2 * depth, 3, height, width), depth=depth).embedding
        assert embedding.shape == (2 * depth, 256, height // 16, width // 16)


def test_unknown_fusions_layers_and_positions_are_refused():
    with pytest.raises(ValueError, match="depth_fusion must be one of add, .*got 'sum'"):
        build_fusion("sum", 8, heads=2, rank=2)
    encoder = ImageEncoder(image_size=32, embed_dim=16, depth=2, heads=2, global_blocks=(0, 1))
    common = {"rank": 2, "scale": 0.05, "depth_fusion": "none"}
    with pytest.raises(ValueError, match=r"blocks 0 to 1 .*got \[2\]"):
        adapt_encoder(encoder, layers=(0, 2), positions=("mlp",), **common)
    with pytest.raises(ValueError, match="some of attention, mlp, got"):
        adapt_encoder(encoder, layers=None, positions=("head",), **common)


def test_layers_and_positions_choose_the_adapters():
    encoder = ImageEncoder(image_size=32, embed_dim=16, depth=3, heads=2, global_blocks=(0, 1, 2))
    common = {"rank": 2, "scale": 0.05, "depth_fusion": "none"}
    assert adapt_encoder(encoder, layers=(1,), positions=("mlp",), **common) == 3
    assert [block.beside_mlp is not None for block in encoder.blocks] == [False, True, False]
    assert all(block.after_attention is None for block in encoder.blocks)
