import itertools
import math

import pytest
import torch

from pgsam_monai.networks.position import decomposed_bias
from pgsam_monai.networks.refsam3d import attention as attention_module
from pgsam_monai.networks.refsam3d.attention import WindowAttention, folds


@pytest.fixture
def attention():
    """Two heads of 4 channels, windows of 3 x 2 x 4, tables that matter."""
    torch.manual_seed(0)
    module = WindowAttention(8, heads=2, window=(3, 2, 4), relative_positions=True)
    for name, value in module.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(value)
    return module


def naive_bias(query, tables, grid, middle):
    """Query token by key token; row ``middle[axis]`` of a table is offset 0."""
    places = list(itertools.product(*(range(side) for side in grid)))
    bias = torch.empty(*query.shape[:2], len(places), len(places))
    for (i, place), (j, other) in itertools.product(enumerate(places), enumerate(places)):
        rows = [table[middle[axis] + place[axis] - other[axis]] for axis, table in enumerate(tables)]
        bias[:, :, i, j] = sum(query[:, :, i] @ row for row in rows)
    return bias


def test_bias_equals_the_naive_loop():
    torch.manual_seed(0)
    grid = (3, 2, 4)
    query = torch.randn(2, 3, 24, 5)
    tables = [torch.randn(2 * side - 1, 5) for side in grid]
    bias = decomposed_bias(query, tables, grid)
    torch.testing.assert_close(bias, naive_bias(query, tables, grid, (2, 1, 3)), atol=1e-5, rtol=1e-5)
    mask = torch.randn(2, 1, 24, 24)
    torch.testing.assert_close(decomposed_bias(query, tables, grid, mask), bias + mask)


@torch.no_grad()
def test_attention_by_hand_on_a_grid_smaller_than_the_window(attention):
    """softmax(q · kᵀ / √4 + bias) · v per head, the tables cropped so that offsets keep their meaning."""
    grid = (2, 1, 3)
    windows = torch.randn(2, *grid, 8)
    query, key, value = (
        layer(windows.flatten(1, 3)).unflatten(-1, (2, 4)).transpose(1, 2)
        for layer in (attention.q, attention.k, attention.v)
    )
    tables = [attention.rel_pos_h, attention.rel_pos_w, attention.rel_pos_d]
    scores = query @ key.transpose(2, 3) / 2 + naive_bias(query, tables, grid, (2, 1, 3))
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    expected = attention.proj(mixed).unflatten(1, grid)
    torch.testing.assert_close(attention(windows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("relative_positions", [True, False])
@torch.no_grad()
def test_every_window_has_its_own_regions(relative_positions):
    torch.manual_seed(0)
    attention = WindowAttention(8, heads=2, window=(2, 1, 1), relative_positions=relative_positions)
    windows = torch.randn(2, 2, 1, 1, 8)
    out = attention(windows, torch.tensor([[0.0, 0.0], [0.0, 3.0]]))
    free = attention(windows)
    torch.testing.assert_close(out[0], free[0])
    own = attention.proj(attention.v(windows))  # who sees itself alone
    torch.testing.assert_close(out[1], own[1], atol=1e-5, rtol=1e-5)
    assert (own[1] - free[1]).abs().max() > 1e-3


@pytest.mark.parametrize("grid", [(3, 2, 4), (2, 1, 3)])
def test_folded_positions_and_regions_give_the_same(attention, grid, monkeypatch):
    windows = torch.randn(2, *grid, 8)
    labels = torch.zeros(2, math.prod(grid))
    labels[1, 3:5], labels[1, 5:] = 1, 26

    def learn():
        attention.zero_grad()
        out = attention(windows, labels)
        out.square().sum().backward()
        return out.detach(), [value.grad.clone() for value in attention.parameters()]

    folded = learn()
    monkeypatch.setattr(attention_module, "folds", lambda query: False)
    torch.testing.assert_close(folded, learn(), atol=1e-4, rtol=1e-4)


def test_training_folds_and_inference_on_cpus_keeps_the_bias():
    query = torch.empty(1, 1, 1, 1)
    assert folds(query)
    with torch.no_grad():
        assert not folds(query)


def test_half_precision_follows(attention):
    windows = torch.randn(2, 3, 2, 4, 8)
    labels = torch.zeros(2, 24)
    labels[1, 12:] = 9
    wanted = attention(windows, labels)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(windows, labels)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), wanted, atol=0.03, rtol=0.03)
    out.float().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in attention.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_cuda(attention, dtype):
    attention, windows = attention.cuda(), torch.randn(2, 3, 2, 4, 8, device="cuda")
    labels = torch.zeros(2, 24, device="cuda")
    labels[1, 12:] = 9
    wanted = attention(windows, labels)
    with torch.autocast("cuda", dtype):
        out = attention(windows, labels)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), wanted, atol=0.03, rtol=0.03)
    out.float().sum().backward()
    assert all(value.grad.isfinite().all() for value in attention.parameters())
