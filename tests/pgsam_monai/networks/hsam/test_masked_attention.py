"""Eq. 2 and Eq. 3 against transcriptions, both directions, and where gradients go."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.hsam.masked_attention import MaskedAttention
from pgsam_monai.networks.hsam.transformer import MaskedTwoWayTransformer
from pgsam_monai.networks.sam.transformer import TwoWayTransformer


def make_attention(kind):
    return MaskedAttention(8, 2, kind=kind).eval()


def transcription(attention, q, k, v, weigh):
    """softmax(QKᵀ/√d) V head by head, `weigh` being given the scores before the softmax."""
    batches = []
    for b in range(len(q)):
        heads = []
        for h in range(2):
            part = slice(2 * h, 2 * h + 2)
            Q, K, V = (
                x[b] @ layer.weight[part].T + layer.bias[part]
                for x, layer in ((q, attention.q_proj), (k, attention.k_proj), (v, attention.v_proj))
            )
            heads.append(weigh(Q @ K.T / 2**0.5, b) @ V)
        batches.append(attention.out_proj(torch.cat(heads, dim=1)))
    return torch.stack(batches)


@pytest.fixture
def tensors():
    q, k, v = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    return q, k, v, torch.randn(2, 3, 5).softmax(dim=1)


@torch.no_grad()
def test_learnable_equals_eq_3_without_renormalisation(tensors):
    q, k, v, mask = tensors
    expected = transcription(
        make := make_attention("learnable"), q, k, v, lambda s, b: mask[b] * s.softmax(1)
    )
    torch.testing.assert_close(make(q, k, v, mask), expected)


@torch.no_grad()
def test_binary_equals_eq_2_and_an_empty_mask_looks_everywhere(tensors):
    q, k, v, mask = tensors
    mask[0, 1] = 0.4  # no position above the threshold
    mask[1, 2] = 0.6

    def weigh(scores, b):
        blocked = torch.zeros_like(scores)
        for row in range(3):
            if (mask[b, row] > 0.5).any():
                blocked[row, mask[b, row] <= 0.5] = float("-inf")
        return (scores + blocked).softmax(1)

    attention = make_attention("binary")
    torch.testing.assert_close(attention(q, k, v, mask), transcription(attention, q, k, v, weigh))


@torch.no_grad()
def test_none_is_plain_attention(tensors):
    q, k, v, mask = tensors
    attention = make_attention("none")
    expected = transcription(attention, q, k, v, lambda s, b: s.softmax(1))
    torch.testing.assert_close(attention(q, k, v, mask), expected)


@pytest.mark.parametrize(("kind", "reached"), [("learnable", True), ("binary", False), ("none", False)])
def test_only_the_learnable_mask_gets_a_gradient(tensors, kind, reached):
    """The paper's first objection to Eq. 2: the gradient of M vanishes through t(M)."""
    q, k, v, mask = tensors
    mask.requires_grad_(True)
    make_attention(kind)(q, k, v, mask).square().sum().backward()
    assert (mask.grad is not None and float(mask.grad.abs().sum()) > 0) == reached


def make_transformer(kind, **changes):
    return MaskedTwoWayTransformer(kind=kind, dim=8, heads=2, mlp_dim=16, **changes).eval()


@torch.no_grad()
def test_without_masks_it_is_sams_transformer_with_sams_weights():
    sam = TwoWayTransformer(dim=8, heads=2, mlp_dim=16).eval()
    ours = make_transformer("none")
    ours.load_state_dict(sam.state_dict())
    image, place, tokens = torch.randn(2, 8, 3, 4), torch.randn(1, 8, 3, 4), torch.randn(2, 5, 8)
    prior = torch.randn(2, 5, 3, 4).softmax(1)
    for given, expected in zip(ours(image, place, tokens, prior), sam(image, place, tokens), strict=True):
        torch.testing.assert_close(given, expected)


@torch.no_grad()
def test_the_mask_acts_in_both_directions():
    """With a mask that is zero everywhere neither tokens nor image learn anything of the other from cross-attention."""
    transformer = make_transformer("learnable")
    image, place, tokens = torch.randn(1, 8, 2, 2), torch.randn(1, 8, 2, 2), torch.randn(1, 3, 8)
    nothing = torch.zeros(1, 3, 2, 2)
    _, seen = transformer(image, place, tokens, nothing)
    _, other = transformer(image, place, torch.randn(1, 3, 8), nothing)
    torch.testing.assert_close(seen, other)  # image tokens don't know the class tokens
    _, full = transformer(image, place, tokens, torch.ones(1, 3, 2, 2))
    assert (full - seen).abs().max() > 1e-3


def test_dropout_acts_while_training():
    transformer = make_transformer("learnable", dropout=0.5).train()
    given = torch.randn(1, 8, 2, 2), torch.randn(1, 8, 2, 2), torch.randn(1, 3, 8), torch.rand(1, 3, 2, 2)
    assert not torch.equal(transformer(*given)[0], transformer(*given)[0])


@pytest.mark.parametrize("kind", ["learnable", "binary", "none"])
@torch.no_grad()
def test_rescaled_it_is_sams_transformer_where_the_prior_knows_nothing(kind):
    """1 / (K + 1) everywhere: Eq. 3 unscaled is another transformer, Eq. 2's masks are empty and hide nothing."""
    sam = TwoWayTransformer(dim=8, heads=2, mlp_dim=16).eval()
    ours = make_transformer(kind)
    ours.load_state_dict(sam.state_dict())
    for layer in sam.layers:
        assert layer.cross_attn_token_to_image.out_proj.bias.abs().min() > 0  # which must not be scaled
    image, place, tokens = torch.randn(2, 8, 3, 4), torch.randn(1, 8, 3, 4), torch.randn(2, 5, 8)
    uniform, expected = torch.full((2, 5, 3, 4), 1 / 5), sam(image, place, tokens)
    if kind == "learnable":
        assert (ours(image, place, tokens, uniform)[1] - expected[1]).abs().max() > 1e-2
    ours.rescale(classes=5)
    for given, wanted in zip(ours(image, place, tokens, uniform), expected, strict=True):
        torch.testing.assert_close(given, wanted)
