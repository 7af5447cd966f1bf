"""Relative positions folded into queries and keys: the attention that the bias of all pairs gives."""

from __future__ import annotations

import math

import pytest
import torch

from pgsam_monai.networks.position import decomposed_bias, fold_positions
from pgsam_monai.networks.sam import attention
from pgsam_monai.networks.sam.attention import FOLDED_FROM, Attention, folds

GRIDS = [(1, 1), (3, 5), (4, 4), (8, 2), (3, 2, 4), (1, 1, 1)]


def make(grid, channels=8):
    """Query and key (2, 3, N, C), tables of the grid's axes."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 3, math.prod(grid), channels)
    return query, key, [torch.randn(2 * side - 1, channels) for side in grid]


@pytest.mark.parametrize("grid", GRIDS)
def test_their_product_is_the_scaled_one_and_the_bias(grid):
    query, key, tables = make(grid)
    folded_query, folded_key = fold_positions(query, key, tables, grid)
    assert folded_query.shape == folded_key.shape and folded_key.shape[-1] % 8 == 0
    expected = query @ key.transpose(-2, -1) / 8**0.5 + decomposed_bias(query, tables, grid)
    torch.testing.assert_close(folded_query @ folded_key.transpose(-2, -1), expected, atol=1e-5, rtol=1e-5)


def test_further_channels_count_for_all_heads():
    query, key, tables = make((3, 2))
    further = torch.randn(2, 2, 6, 5)
    folded_query, folded_key = fold_positions(query, key, tables, (3, 2), tuple(further))
    expected = query @ key.transpose(-2, -1) / 8**0.5 + decomposed_bias(query, tables, (3, 2))
    expected = expected + (further[0] @ further[1].transpose(-2, -1)).unsqueeze(1)
    torch.testing.assert_close(folded_query @ folded_key.transpose(-2, -1), expected, atol=1e-5, rtol=1e-5)


def learn(layer, tokens):
    """What a layer makes of tokens (B, H, W, C), and its gradients."""
    layer.zero_grad()
    out = layer(tokens)
    out.square().sum().backward()
    return out.detach(), [value.grad.clone() for value in layer.parameters()]


@pytest.mark.parametrize("resize", [True, False])
def test_attention_and_its_gradients_are_the_same(resize, monkeypatch):
    torch.manual_seed(0)
    layer = Attention(16, heads=2, table_size=4, resize_tables=resize)
    torch.nn.init.normal_(layer.rel_pos_h)
    torch.nn.init.normal_(layer.rel_pos_w)
    tokens = torch.randn(2, 4, 3, 16)
    plain = learn(layer, tokens)
    monkeypatch.setattr(attention, "folds", lambda query: True)
    torch.testing.assert_close(learn(layer, tokens), plain, atol=1e-4, rtol=1e-4)


def test_half_precise_numbers_are_nearer_to_the_truth():
    grid = (8, 8)
    query, key, tables = make(grid, channels=16)
    true = query @ key.transpose(-2, -1) / 4 + decomposed_bias(query, tables, grid)
    half, half_key = query.bfloat16(), key.bfloat16()
    plain = (half @ half_key.transpose(-2, -1)).float() / 4 + decomposed_bias(half, tables, grid).float()
    folded = torch.matmul(
        *(part.float() for part in _transposed(*fold_positions(half, half_key, tables, grid)))
    )
    assert (folded - true).abs().mean() < (plain - true).abs().mean()


def _transposed(query, key):
    return query, key.transpose(-2, -1)


def test_cpus_and_small_grids_keep_the_bias():
    assert not folds(torch.empty(1, 1, FOLDED_FROM, 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_large_grids_are_folded_and_agree(dtype, monkeypatch):
    torch.manual_seed(0)
    layer = Attention(128, heads=2, table_size=33, resize_tables=True).cuda().to(dtype)
    torch.nn.init.normal_(layer.rel_pos_h, std=0.1)
    tokens = torch.randn(1, 33, 33, 128, device="cuda", dtype=dtype)
    folded = learn(layer, tokens)
    monkeypatch.setattr(attention, "folds", lambda query: False)
    close = {"atol": 1e-3, "rtol": 1e-3} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.1}
    torch.testing.assert_close(folded, learn(layer, tokens), **close)
