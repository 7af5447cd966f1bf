import pytest
import torch
from timm.models.tiny_vit import TinyVitBlock

from pgsam_monai.networks.sam.tiny_vit import TinyBlock, TinyViTEncoder


@pytest.fixture
def block():
    """A block of 8 channels, 2 heads and windows of 3, whose biases, norms and statistics matter."""
    torch.manual_seed(0)
    return shake(TinyBlock(8, heads=2, window=3)).eval()


def shake(module):
    for value in module.parameters():
        torch.nn.init.normal_(value, std=0.5)
    for name, value in module.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(value)
        if name.endswith("running_var"):
            torch.nn.init.uniform_(value, 0.5, 2.0)
    return module


@pytest.mark.parametrize("grid", [(3, 3), (6, 3), (7, 4), (1, 2)])
@torch.no_grad()
def test_block_equals_timms_with_and_without_padding(block, grid):
    theirs = TinyVitBlock(8, 2, window_size=3).eval()
    theirs.load_state_dict(block.state_dict())
    tokens = torch.randn(2, *grid, 8)
    torch.testing.assert_close(block(tokens), theirs(tokens), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_block_is_the_sum_of_its_parts(block):
    tokens = torch.randn(2, 4, 5, 8)
    between = block.between(tokens + block.attend_space(tokens))
    expected = between + block.mlp_after_norm(block.mlp_norm(between))
    torch.testing.assert_close(block(tokens), expected, atol=0, rtol=0)
    torch.testing.assert_close(block(tokens, 2), expected, atol=0, rtol=0)
    assert block.dim == 8


@torch.no_grad()
def test_attention_along_depth_by_hand(block):
    """Two volumes of three slices: softmax(q · kᵀ / √c) · v of each position's three tokens, with its weights."""
    tokens = torch.randn(2 * 3, 2, 4, 8)
    out = block.attend_depth(tokens, 3)
    column = block.attn.norm(tokens.unflatten(0, (2, 3))[1, :, 0, 2])  # (3, 8), of the second volume
    heads = block.attn.qkv(column).unflatten(-1, (2, 12))  # (3, heads, q and k and v of 4)
    mixed = []
    for head in range(2):
        query, key, value = heads[:, head].split(4, dim=-1)
        mixed.append((query @ key.T / 2).softmax(-1) @ value)
    expected = block.attn.proj(torch.cat(mixed, dim=-1))
    torch.testing.assert_close(out.unflatten(0, (2, 3))[1, :, 0, 2], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_depth_mixes_neither_positions_nor_volumes(block):
    tokens = torch.randn(2 * 3, 4, 4, 8)
    changed = tokens.clone()
    changed[1, 2, 3] += torch.arange(8.0)  # the second slice of the first volume
    moved = (block.attend_depth(changed, 3) - block.attend_depth(tokens, 3)).abs().amax(-1) > 1e-6
    expected = torch.zeros(6, 4, 4, dtype=torch.bool)
    expected[:3, 2, 3] = True
    assert torch.equal(moved, expected)


@torch.no_grad()
def test_other_weights_count_at_once(block):
    """`timm`'s own attention would go on with the biases that it kept from the first evaluation."""
    tokens = torch.randn(1, 3, 3, 8)
    before = block(tokens)
    block.attn.attention_biases += torch.randn_like(block.attn.attention_biases)
    assert not torch.allclose(block(tokens), before)


@pytest.mark.parametrize(("embed_stride", "stride"), [(1, 4), (4, 16)])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 112)])
@torch.no_grad()
def test_any_multiple_of_16(embed_stride, stride, height, width):
    encoder = TinyViTEncoder(image_size=64, embed_stride=embed_stride).eval()
    assert (encoder.stride, encoder.skip_channels, encoder.lora_targets) == (stride, (), ("qkv",))
    features = encoder.encode(torch.randn(2, 3, height, width), depth=2)
    assert features.embedding.shape == (2, 256, height // stride, width // stride)
    assert features.skips == ()


def test_bad_arguments():
    with pytest.raises(ValueError, match="embed_stride must be 1 or 4, got 2"):
        TinyViTEncoder(image_size=64, embed_stride=2)
    with pytest.raises(ValueError, match="multiples of 16 pixels, got 40 x 40"):
        TinyViTEncoder(image_size=40, embed_stride=4)


@pytest.mark.parametrize("learns", [False, True])
def test_batch_norm_learns_only_where_it_was_asked_to(learns):
    encoder = TinyViTEncoder(image_size=32, embed_stride=4, learns_statistics=learns)
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert encoder.training and all(norm.training == learns for norm in norms)
    encoder.eval()
    assert not any(module.training for module in encoder.modules())
    encoder.train()
    assert all(norm.training == learns for norm in norms) and encoder.stages[1].training
