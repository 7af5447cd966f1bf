"""The 3-D decoder: strides from token to voxel, SAM's transformer, hidden words, the input volume's share."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.refsam3d.decoder import VolumeDecoder, attend_both_ways, stage_strides
from pgsam_monai.networks.refsam3d.prompt_encoder import VolumePromptEncoder
from pgsam_monai.networks.sam.prompt_encoder import PromptEncoder
from pgsam_monai.networks.sam.transformer import TwoWayTransformer

GRID = (2, 3, 4)


def decoder(token_size=(4, 4, 2)):
    torch.manual_seed(0)
    return VolumeDecoder(token_size=token_size, in_channels=1, mlp_dim=64).eval()


def inputs(token_size=(4, 4, 2), queries=3):
    torch.manual_seed(1)
    taps = [torch.randn(1, 256, *GRID) for _ in range(4)]
    image = torch.rand(1, 1, *(side * size for side, size in zip(GRID, token_size, strict=True)))
    given = {
        "queries": torch.randn(1, queries, 256),
        "dense": torch.randn(1, 256, *GRID),
        "grid_encoding": torch.randn(1, 256, *GRID),
    }
    return taps, image, given


@pytest.mark.parametrize(
    "token_size, strides",
    [
        ((16, 16, 16), [(2, 2, 2)] * 4),
        ((4, 4, 1), [(1, 1, 1), (1, 1, 1), (2, 2, 1), (2, 2, 1)]),
        ((8, 8, 2), [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)]),
    ],
)
def test_strides_double_tokens_up_to_voxels(token_size, strides):
    assert stage_strides(token_size) == strides


@pytest.mark.parametrize("token_size", [(3, 3, 3), (32, 32, 4)])
def test_other_token_sizes_are_refused(token_size):
    with pytest.raises(ValueError, match="powers of two"):
        stage_strides(token_size)


@pytest.mark.parametrize("token_size", [(16, 16, 16), (8, 8, 4), (4, 4, 1)])
@torch.no_grad()
def test_masks_have_the_volumes_size(token_size):
    taps, image, given = inputs(token_size)
    assert decoder(token_size)(taps, image, **given).shape == (1, 3, *image.shape[2:])


@torch.no_grad()
def test_it_is_sams_transformer_on_one_slice():
    """With no hidden token, `segment_anything`'s own forward on the same weights."""
    torch.manual_seed(0)
    transformer = TwoWayTransformer(dim=32, heads=2, mlp_dim=16).eval()
    image, places, tokens = torch.randn(2, 32, 4, 5), torch.randn(2, 32, 4, 5), torch.randn(2, 3, 32)
    expected = transformer(image, places, tokens)
    found = attend_both_ways(transformer, image.unsqueeze(-1), places.unsqueeze(-1), tokens, absent=None)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_words_change_masks_and_absent_ones_do_not():
    taps, image, given = inputs()
    net, words = decoder(), torch.randn(1, 4, 256)
    absent = torch.tensor([[False, False, True, True]])
    some = net(taps, image, **given, words=words, absent=absent)
    torch.testing.assert_close(some, net(taps, image, **given, words=words[:, :2]), atol=1e-5, rtol=1e-5)
    words[:, 2:] += 5
    torch.testing.assert_close(some, net(taps, image, **given, words=words, absent=absent))
    words[:, 1] += 5
    assert (some - net(taps, image, **given, words=words, absent=absent)).abs().max() > 1e-3


@torch.no_grad()
def test_each_part_matters():
    taps, image, given = inputs()
    net = decoder()
    plain = net(taps, image, **given)
    assert (net(taps, 1 - image, **given) - plain).abs().max() > 1e-3, "the input volume"
    for number in range(4):
        others = [tap + (1.0 if index == number else 0.0) * tap for index, tap in enumerate(taps)]
        assert (net(others, image, **given) - plain).abs().max() > 1e-3, f"stage {number + 1}"
        aggregated = [None] * 4
        aggregated[number] = taps[number]
        prompted = net(taps, image, **given, aggregated=aggregated)
        assert (prompted - plain).abs().max() > 1e-3, f"prompt of stage {number + 1}"
    changed = {**given, "dense": given["dense"] + torch.randn(1, 256, *GRID)}
    assert (net(taps, image, **changed) - plain).abs().max() > 1e-3, "dense prompt"


@torch.no_grad()
def test_a_mask_depends_on_its_query_beside_others_only_through_attention():
    """Queries of equal content give equal masks: nothing but the query tells masks apart."""
    taps, image, given = inputs()
    given["queries"][:, 1] = given["queries"][:, 0]
    masks = decoder()(taps, image, **given)
    torch.testing.assert_close(masks[:, 0], masks[:, 1], atol=1e-5, rtol=1e-5)
    assert (masks[:, 0] - masks[:, 2]).abs().max() > 1e-3


@torch.no_grad()
def test_the_position_code_of_the_middle_slice_is_sams():
    torch.manual_seed(0)
    ours, sams = VolumePromptEncoder(), PromptEncoder(image_size=64)
    sams.pe_layer.positional_encoding_gaussian_matrix.copy_(ours.pe_layer.positional_encoding_gaussian_matrix)
    code = ours.grid_encoding(torch.zeros(1, 256, 4, 6, 5))
    assert code.shape == (1, 256, 4, 6, 5)
    torch.testing.assert_close(
        code[..., 2], sams.grid_encoding(torch.zeros(1, 256, 4, 6)), atol=1e-5, rtol=1e-5
    )
    assert (code[..., 0] - code[..., 2]).abs().max() > 0.1


@torch.no_grad()
def test_the_cross_modal_prompt_joins_sams_no_mask_embedding():
    encoder = VolumePromptEncoder()
    nothing, prompt = encoder.dense(None), torch.randn(1, 256, *GRID)
    assert nothing.shape == (1, 256, 1, 1, 1)
    torch.testing.assert_close(encoder.dense(prompt), prompt + nothing)
