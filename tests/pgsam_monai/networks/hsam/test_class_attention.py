"""Section 3.2 against a transcription, and what the gate does."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pgsam_monai.networks.hsam.class_attention import ClassAttention, heads_of
from pgsam_monai.networks.hsam.class_noise import ClassNoise


def make_attention(*, std=0.0, **changes):
    arguments = {"num_classes": 2, "grid": 4, "heads": 2, "mlp_dim": 8}
    noise = ClassNoise(num_classes=2, frequencies=[0.9, 0.05, 0.05], std=std)
    attention = ClassAttention(noise=noise, **(arguments | changes))
    torch.nn.init.normal_(attention.compress.weight)
    return attention.eval()


def transcription(attention, embedding, masks):
    """One image at a time, head by head: P normalised, attention among classes, FFN, linear, F + F ⊙ gate."""
    enhanced = []
    for image, maps in zip(embedding, masks, strict=True):
        rows = maps.flatten(1)  # (K+1, positions)
        rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        a, heads = attention.attention, []
        for h in range(2):
            part = slice(8 * h, 8 * h + 8)
            q, k, v = (
                rows @ layer.weight[part].T + layer.bias[part] for layer in (a.q_proj, a.k_proj, a.v_proj)
            )
            heads.append(torch.softmax(q @ k.T / 8**0.5, dim=1) @ v)
        rows = attention.norm_attention(rows + a.out_proj(torch.cat(heads, dim=1)))
        mlp = attention.mlp
        rows = attention.norm_mlp(rows + mlp.lin2(F.gelu(mlp.lin1(rows))))
        gate = (rows * attention.compress.weight.T).sum(0) + attention.compress.bias
        enhanced.append(image + image * gate.reshape(maps.shape[1:]))
    return torch.stack(enhanced)


@torch.no_grad()
def test_equals_a_transcription():
    attention = make_attention()
    embedding, masks = torch.randn(2, 5, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(attention(embedding, masks), transcription(attention, embedding, masks))


@torch.no_grad()
def test_starts_near_the_identity():
    noise = ClassNoise(num_classes=2, frequencies=None, std=0.0)
    attention = ClassAttention(num_classes=2, noise=noise)
    assert attention.gate(torch.randn(2, 3, 14, 14)).abs().max() < 0.3


@torch.no_grad()
def test_the_gate_depends_on_the_masks_and_differs_by_position():
    """The released code's gate is 1 everywhere whatever its input."""
    attention = make_attention()
    masks = torch.randn(1, 3, 4, 4)
    gate = attention.gate(masks)
    assert gate.std() > 0.1
    assert (attention.gate(torch.randn(1, 3, 4, 4)) - gate).abs().mean() > 0.1


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (3, 6), (32, 32)])
@torch.no_grad()
def test_any_size_by_one_set_of_weights(size):
    assert make_attention()(torch.randn(2, 5, *size), torch.randn(2, 3, *size)).shape == (2, 5, *size)


@torch.no_grad()
def test_noise_in_training_only():
    attention = make_attention(std=0.5)
    masks, label = torch.randn(1, 3, 4, 4), torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(attention.gate(masks, label), attention.gate(masks))
    assert (attention.train().gate(masks, label) - attention.eval().gate(masks)).abs().max() > 0.01


def test_heads_must_divide_the_grid():
    with pytest.raises(ValueError, match="7 heads don't divide 4 x 4"):
        make_attention(heads=7)


@pytest.mark.parametrize(("grid", "heads"), [(14, 7), (32, 8), (26, 4), (11, 1), (1, 1)])
def test_heads_are_the_released_codes_or_the_most_that_divide(grid, heads):
    assert heads_of(grid) == heads


def test_parameters_by_grid():
    """Attention 4 (n² + n), MLP 2 · 2048 n + 2048 + n, two norms 4 n, linear 9 + 1, n = grid²."""
    with torch.device("meta"):
        noise = ClassNoise(num_classes=8, frequencies=None, std=0.0)
        counts = [
            sum(p.numel() for p in ClassAttention(num_classes=8, noise=noise, grid=grid).parameters())
            for grid in (14, 32)
        ]
    assert counts == [960_302, 8_399_882]
