"""Eq. 6 and 7 against direct transcriptions, with the stated repairs."""

from __future__ import annotations

import pytest
import torch
from stacks import stacks_of
from torch.nn import functional as F

from pgsam_monai.networks.pgsam.features import MaskFeatures
from pgsam_monai.networks.pgsam.mask_optimizer import MaskOptimizer, convolve_each


@pytest.fixture
def case():
    log_weights = torch.randn(2, 3, 5, 6).log_softmax(1)
    features = MaskFeatures(torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6), log_weights)
    return (
        MaskOptimizer(token_dim=7, channels=4, steps=2),
        torch.randn(2, 3, 5, 6),
        features,
        torch.randn(2, 3, 7),
    )


def test_kernels_are_equation_6(case):
    optimizer, _, _, tokens = case
    kernels = optimizer.kernels(tokens)
    assert kernels.shape == (2, 3, 5, 3, 3)
    gate = optimizer.hypernetwork(tokens[1, 2])
    for channel in range(5):
        assert torch.allclose(
            kernels[1, 2, channel], gate[channel] * optimizer.base_kernel[channel], atol=1e-6
        )


def test_steps_are_equation_7(case):
    optimizer, logits, features, tokens = case
    kernels, z = optimizer.kernels(tokens), logits
    fusion = stacks_of(features, 3)
    for _ in range(2):
        masks = torch.softmax(z, dim=1)
        delta = torch.stack(
            [
                torch.stack(
                    [
                        torch.tanh(
                            F.conv2d(
                                torch.cat([masks[b, k : k + 1], fusion[b, k]])[None],
                                kernels[b, k][None],
                                padding=1,
                            )
                        )[0, 0]
                        for k in range(3)
                    ]
                )
                for b in range(2)
            ]
        )
        z = (
            torch.log(masks) + optimizer.step_size * delta
        )  # equal to z + λΔ up to a constant over the classes
    refined = optimizer(logits, features, tokens)
    assert torch.allclose(refined.softmax(1), z.softmax(1), atol=1e-5)


def test_masks_stay_in_range_and_gradients_live_where_clipping_would_kill_them(case):
    optimizer, logits, features, tokens = case
    sure = (50 * logits).requires_grad_()
    refined = optimizer(sure, features, tokens)
    masks = refined.softmax(1)
    assert masks.min() >= 0 and masks.max() <= 1
    wrong = torch.randint(3, (2, 5, 6))
    F.cross_entropy(refined, wrong).backward()
    assert sure.grad.abs().sum() > 0.1
    clipped = (masks.detach().requires_grad_() + 0.2).clamp(0, 1)
    assert (clipped == 1).any()  # there Clip passes nothing on


def test_a_correction_can_add_and_take_away(case):
    optimizer, logits, features, tokens = case
    change = optimizer(logits, features, tokens) - logits
    assert change.min() < 0 < change.max()
    assert change.abs().max() <= optimizer.steps * optimizer.step_size + 1e-6


def test_every_mask_has_its_own_kernel():
    masks, kernels = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 1, 3, 3)
    found = convolve_each(masks, kernels)
    assert torch.allclose(found[1, 2], F.conv2d(masks[1:, 2:], kernels[1, 2:], padding=1)[0, 0], atol=1e-5)


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="refinement_steps must be at least 1, got 0"):
        MaskOptimizer(steps=0)
