import pytest
import torch
from segment_anything import sam_model_registry
from small_sam import fill_tables, make_original

from pgsam_monai.networks.sam.attention import Attention, Block
from pgsam_monai.networks.sam.builders import build_sam
from pgsam_monai.networks.sam.checkpoint import load_sam_state


def load_ours(original, backbone, image_size):
    parts = torch.nn.Module()
    sam = build_sam(backbone=backbone, image_size=image_size, num_classes=3)
    parts.image_encoder, parts.prompt_encoder, parts.mask_decoder = sam
    load_sam_state(parts, original.state_dict(), source="test")
    return parts.eval()


@pytest.mark.parametrize("image_size", [1024, 512, 224])
@torch.no_grad()
def test_equals_segment_anything_at_the_size_of_the_weights(small_backbone, image_size):
    original = make_original(image_size)
    ours = load_ours(original, small_backbone, image_size)
    image = torch.randn(1 if image_size == 1024 else 2, 3, image_size, image_size)
    torch.testing.assert_close(ours.image_encoder(image), original.image_encoder(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_equals_segment_anything_where_windows_need_padding(small_backbone):
    original = make_original(272)  # a grid of 17: two windows of 14 per axis, 11 tokens of padding
    ours = load_ours(original, small_backbone, 272)
    image = torch.randn(2, 3, 272, 272)
    torch.testing.assert_close(ours.image_encoder(image), original.image_encoder(image), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_vit_b_equals_segment_anything_at_1024():
    torch.manual_seed(0)
    original = sam_model_registry["vit_b"](checkpoint=None)
    fill_tables(original.image_encoder)
    ours = load_ours(original, "vit_b", 1024)
    image = torch.randn(1, 3, 1024, 1024)
    torch.testing.assert_close(ours.image_encoder(image), original.image_encoder(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tables_resized_on_the_fly_equal_tables_resized_on_loading(small_backbone):
    original = make_original(1024)
    built_large, built_small = (load_ours(original, small_backbone, size) for size in (512, 224))
    assert built_small.image_encoder.pos_embed.shape == (1, 14, 14, 32)
    assert built_small.image_encoder.blocks[0].attn.rel_pos_h.shape == (27, 16)  # windowed: as in SAM
    assert built_small.image_encoder.blocks[1].attn.rel_pos_h.shape == (27, 16)  # global: from 127
    assert built_large.image_encoder.blocks[1].attn.rel_pos_h.shape == (63, 16)
    native = load_ours(original, small_backbone, 1024)
    image = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(
        native.image_encoder(image), built_small.image_encoder(image), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("height", "width"), [(64, 96), (240, 128), (16, 16)])
@torch.no_grad()
def test_any_multiple_of_16(small_backbone, height, width):
    encoder = build_sam(backbone=small_backbone, image_size=224, num_classes=1).image_encoder.eval()
    assert encoder(torch.randn(2, 3, height, width)).shape == (2, 256, height // 16, width // 16)


@torch.no_grad()
def test_small_grid_is_one_window_whose_offsets_keep_their_meaning():
    attention = Attention(8, heads=1, table_size=14, resize_tables=False)
    torch.nn.init.normal_(attention.rel_pos_h)
    torch.nn.init.normal_(attention.rel_pos_w)
    block = Block(8, heads=1, mlp_ratio=1, window=14, grid=14, relative_positions=True)
    tokens = torch.randn(1, 2, 3, 8)
    query = attention.q(tokens).reshape(6, 8)
    bias = attention._bias(query.reshape(1, 1, 6, 8), (2, 3))[0, 0]
    # Query at row 1, column 0; key at row 0, column 2: offsets +1 and -2 from the tables' middle row 13.
    expected = query[3] @ attention.rel_pos_h[13 + 1] + query[3] @ attention.rel_pos_w[13 - 2]
    torch.testing.assert_close(bias[3, 2], expected)
    assert block(tokens).shape == tokens.shape


def test_a_size_that_is_no_multiple_of_16_is_refused():
    with pytest.raises(ValueError, match=r"multiples of 16 pixels, got 100 x 100.* 96 x 96"):
        build_sam(backbone="vit_tiny", image_size=100, num_classes=1)


@torch.no_grad()
def test_vit_tiny_offers_skip_features():
    encoder = build_sam(backbone="vit_tiny", image_size=64, num_classes=1).image_encoder
    features = encoder.encode(torch.randn(1, 3, 64, 64))
    assert features.embedding.shape == (1, 256, 4, 4)
    assert [tuple(skip.shape[2:]) for skip in features.skips] == [(8, 8), (16, 16)]
    assert tuple(skip.shape[1] for skip in features.skips) == encoder.skip_channels
