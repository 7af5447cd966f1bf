import pytest
import torch
from torch import nn

from pgsam_monai.networks.text.attention import SplitAttention, can_split, split_attentions


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_equals_the_fused_attention(bias):
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(16, 4, batch_first=True, bias=bias).eval()
    if bias:
        nn.init.normal_(fused.in_proj_bias)
        nn.init.normal_(fused.out_proj.bias)
    split = SplitAttention(fused)
    query, other = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    causal = torch.full((5, 5), float("-inf")).triu(1)
    per_head = torch.randn(2 * 4, 5, 5)
    for arguments, mask in (((query,) * 3, None), ((query,) * 3, causal), ((query,) * 3, per_head)):
        wanted = fused(*arguments, need_weights=False, attn_mask=mask)[0]
        torch.testing.assert_close(split(*arguments, attn_mask=mask)[0], wanted, atol=1e-6, rtol=1e-5)
    wanted = fused(query, other, other, need_weights=False)[0]
    torch.testing.assert_close(split(query, other, other)[0], wanted, atol=1e-6, rtol=1e-5)


def test_gradients_equal_those_of_the_fused_attention():
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(8, 2, batch_first=True)
    split = SplitAttention(fused)
    tokens = torch.randn(1, 3, 8)
    fused(tokens, tokens, tokens, need_weights=False)[0].square().sum().backward()
    split(tokens, tokens, tokens)[0].square().sum().backward()
    for layer, gradient in zip((split.q, split.k, split.v), fused.in_proj_weight.grad.chunk(3), strict=True):
        torch.testing.assert_close(layer.weight.grad, gradient, atol=1e-6, rtol=1e-4)


def test_what_it_does_not_equal_is_left_alone():
    others = [
        nn.MultiheadAttention(8, 2),
        nn.MultiheadAttention(8, 2, batch_first=True, kdim=4, vdim=4),
        nn.MultiheadAttention(8, 2, batch_first=True, dropout=0.1),
    ]
    assert not any(can_split(module) for module in others)
    tower = nn.ModuleList([*others, nn.MultiheadAttention(8, 2, batch_first=True)])
    split_attentions(tower)
    assert [type(child) for child in tower] == [nn.MultiheadAttention] * 3 + [SplitAttention]


def test_weights_can_not_be_asked_for():
    split = SplitAttention(nn.MultiheadAttention(8, 2, batch_first=True))
    tokens = torch.zeros(1, 2, 8)
    with pytest.raises(ValueError, match="need_weights=False"):
        split(tokens, tokens, tokens, need_weights=True)
