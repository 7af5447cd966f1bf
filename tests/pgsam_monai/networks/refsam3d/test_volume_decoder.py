"""The 3-D decoder: strides from token to voxel, SAM's transformer, hidden words, the input volume's share."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.refsam3d.decoder import (
    VolumeDecoder,
    attend_both_ways,
    make_masks,
    stage_strides,
)
from pgsam_monai.networks.refsam3d.prompt_encoder import VolumePromptEncoder
from pgsam_monai.networks.sam.prompt_encoder import PromptEncoder
from pgsam_monai.networks.sam.transformer import TwoWayTransformer

GRID = (2, 3, 4)


def decoder(token_size=(4, 4, 2), **options):
    torch.manual_seed(0)
    return VolumeDecoder(token_size=token_size, in_channels=1, mlp_dim=64, **options).eval()


def masks_of(net, taps, image, **given):
    """Of a decoder in evaluation mode, which has them at the volume's own resolution alone."""
    (masks,) = net(taps, image, **given)
    return masks


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
    (masks,) = decoder(token_size)(taps, image, **given)
    assert masks.shape == (1, 3, *image.shape[2:])


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
    some = masks_of(net, taps, image, **given, words=words, absent=absent)
    torch.testing.assert_close(
        some, masks_of(net, taps, image, **given, words=words[:, :2]), atol=1e-5, rtol=1e-5
    )
    words[:, 2:] += 5
    torch.testing.assert_close(some, masks_of(net, taps, image, **given, words=words, absent=absent))
    words[:, 1] += 5
    assert (some - masks_of(net, taps, image, **given, words=words, absent=absent)).abs().max() > 1e-3


@torch.no_grad()
def test_each_part_matters():
    taps, image, given = inputs()
    net = decoder()
    plain = masks_of(net, taps, image, **given)
    assert (masks_of(net, taps, 1 - image, **given) - plain).abs().max() > 1e-3, "the input volume"
    for number in range(4):
        others = [tap + (1.0 if index == number else 0.0) * tap for index, tap in enumerate(taps)]
        assert (masks_of(net, others, image, **given) - plain).abs().max() > 1e-3, f"stage {number + 1}"
        aggregated = [None] * 4
        aggregated[number] = taps[number]
        prompted = masks_of(net, taps, image, **given, aggregated=aggregated)
        assert (prompted - plain).abs().max() > 1e-3, f"prompt of stage {number + 1}"
    changed = {**given, "dense": given["dense"] + torch.randn(1, 256, *GRID)}
    assert (masks_of(net, taps, image, **changed) - plain).abs().max() > 1e-3, "dense prompt"


@torch.no_grad()
def test_a_mask_depends_on_its_query_beside_others_only_through_attention():
    """Queries of equal content give equal masks: nothing but the query tells masks apart."""
    taps, image, given = inputs()
    given["queries"][:, 1] = given["queries"][:, 0]
    masks = masks_of(decoder(), taps, image, **given)
    torch.testing.assert_close(masks[:, 0], masks[:, 1], atol=1e-5, rtol=1e-5)
    assert (masks[:, 0] - masks[:, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("token_size", [(16, 16, 16), (8, 8, 2), (4, 4, 1)])
@torch.no_grad()
def test_training_has_masks_at_coarser_scales_too(token_size):
    """Of (4, 4, 1) the third scale is tokens' own."""
    taps, image, given = inputs(token_size)
    net = decoder(token_size, scales=3).train()
    sizes = {tuple(masks.shape[2:]): masks.shape[:2] for masks in net(taps, image, **given)}
    doublings = stage_strides(token_size)[:-3:-1]
    expected = [tuple(image.shape[2:])]
    for stride in doublings:
        expected.append(tuple(side // by for side, by in zip(expected[-1], stride, strict=True)))
    assert list(sizes) == expected
    assert set(sizes.values()) == {(1, 3)}
    assert len(net.eval()(taps, image, **given)) == 1


@pytest.mark.parametrize("scales", [0, 5])
def test_scales_that_are_not_there_are_refused(scales):
    with pytest.raises(ValueError, match="supervised_scales must be 1 to 4"):
        decoder(scales=scales)


@torch.no_grad()
def test_fine_features_let_a_mask_see_what_lies_a_few_voxels_away():
    """A voxel reaches masks through the last convolution, 1 voxel far, and through the pyramid farther."""
    reach = {}
    for fine in (False, True):
        taps, image, given = inputs((4, 4, 4))
        net = decoder((4, 4, 4), fine_features=fine).double()
        for norm in (module for module in net.modules() if isinstance(module, torch.nn.GroupNorm)):
            norm.forward = lambda x: x  # it looks at the whole volume
        taps, image = [tap.double() for tap in taps], image.double()
        given = {name: value.double() for name, value in given.items()}
        changed = image.clone()
        changed[0, 0, 4, 6, 8] += 1
        apart = (masks_of(net, taps, changed, **given) - masks_of(net, taps, image, **given)).abs()
        rows = apart.amax(dim=(0, 1, 3, 4)) > 1e-12
        reach[fine] = int(rows.sum())
    assert reach[False] == 3
    assert reach[True] > 3


@pytest.mark.parametrize("token_size, cell", [((8, 8, 4), (2, 2, 2)), ((4, 4, 1), (2, 2, 1))])
@torch.no_grad()
def test_cells_have_masks_of_the_volumes_size_and_no_map_as_large(token_size, cell):
    taps, image, given = inputs(token_size)
    net = decoder(token_size, mask_stride=2, fine_features=True, scales=3, widths=(16, 16, 16, 8)).train()
    assert net.cell == cell and net.fusion is None
    finest, coarser, _ = net(taps, image, **given)
    assert finest.shape == (1, 3, *image.shape[2:])
    twice = tuple(side // (2 * own) for side, own in zip(image.shape[2:], cell, strict=True))
    assert coarser.shape[2:4] == twice[:2]
    assert net._upsample(taps[3], taps, image)[-1].shape[2:] == tuple(
        side // own for side, own in zip(image.shape[2:], cell, strict=True)
    )


def test_every_voxel_of_a_cell_has_its_own_weights():
    """One cell row of two cells, 2 x 1 x 2 voxels each, of 2 features: weights that pick or add them up."""
    features = torch.tensor([[1.0, 10.0], [2.0, 20.0]]).reshape(1, 2, 1, 1, 2)
    weights = torch.tensor([[[1.0, 0, 0, 1, 1, 1, 0, 0]]])  # of voxels (0,0,0), (0,0,1), (1,0,0), (1,0,1)
    masks = make_masks(weights, features, (2, 1, 2))
    assert torch.equal(masks, torch.tensor([[[[[1.0, 2, 10, 20]], [[3.0, 0, 30, 0]]]]]))


@torch.no_grad()
def test_masks_are_float32_under_autocast():
    taps, image, given = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        assert masks_of(decoder(), taps, image, **given).dtype == torch.float32


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
