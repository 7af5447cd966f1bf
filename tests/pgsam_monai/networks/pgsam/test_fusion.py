"""Eq. 4 and 5, and deformable convolution by both ways."""

from __future__ import annotations

import torch
from stacks import stacks_of
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from pgsam_monai.networks.pgsam.aligner import Prior
from pgsam_monai.networks.pgsam.deformable import deformable_convolution, sampled_convolution
from pgsam_monai.networks.pgsam.features import MaskFeatures
from pgsam_monai.networks.pgsam.fusion import (
    GuideAlignment,
    GuideCompression,
    GuidedFeatures,
    Pyramid,
    UpStage,
)


def test_sampling_equals_torchvision_forwards_and_backwards():
    x, offsets = torch.randn(2, 5, 7, 6), 3 * torch.randn(2, 18, 7, 6)
    weight = torch.randn(4, 5, 3, 3)
    grads = []
    for function in (lambda *a: deform_conv2d(*a, padding=1), sampled_convolution):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, offsets, weight)]
        out = function(*inputs)
        grads.append((out, *torch.autograd.grad((out * torch.arange(6.0)).sum(), inputs)))
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3), (ours - theirs).abs().max()


def test_without_offsets_it_is_a_convolution_at_any_kernel():
    for size in (1, 3, 5):
        x, weight = torch.randn(1, 3, 5, 8), torch.randn(2, 3, size, size)
        plain = F.conv2d(x, weight, padding=size // 2)
        assert torch.allclose(
            deformable_convolution(x, torch.zeros(1, 2 * size**2, 5, 8), weight), plain, atol=1e-4
        )


def test_an_offset_of_one_pixel_moves_the_image():
    x, weight = torch.randn(1, 1, 4, 4), torch.ones(1, 1, 1, 1)
    down = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])[None]
    moved = deformable_convolution(x, down, weight)
    assert torch.allclose(moved[0, 0, :3], x[0, 0, 1:], atol=1e-5) and not moved[0, 0, 3].any()


def test_a_stage_is_equation_4():
    stage, x = UpStage(8), torch.randn(2, 8, 3, 2)
    raised = F.conv_transpose2d(x, stage.deconv.weight, stage.deconv.bias, stride=2)
    mean, var = raised.mean(1, keepdim=True), raised.var(1, unbiased=False, keepdim=True)
    assert torch.allclose(stage(x), F.gelu((raised - mean) / (var + 1e-6).sqrt()), atol=1e-5)


def test_the_pyramid_halves_channels_twice():
    pyramid = Pyramid(dim=256, out_channels=32)
    widths = [pyramid.first.deconv.in_channels, pyramid.second.deconv.in_channels, pyramid.phi.in_channels]
    assert widths == [256, 128, 64]
    assert pyramid(torch.randn(1, 256, 2, 3)).shape == (1, 32, 8, 12)


def test_compressing_before_weighting_equals_compressing_the_guide_matrices():
    compression = GuideCompression(dim=6, out_channels=4)
    prior = Prior(torch.randn(2, 6, 3, 3), torch.randn(2, 5, 3, 3).log_softmax(1))
    compressed, log_weights = compression(prior, (3, 3))
    for k in range(5):
        matrix = prior.guide * prior.weights[:, k : k + 1]  # G of class k
        expected = compressed * log_weights[:, k : k + 1].exp()
        assert torch.allclose(F.conv2d(matrix, compression.compress.weight), expected, atol=1e-5)


def test_alignment_moves_guide_and_maps_together():
    alignment = GuideAlignment(3, 4)
    torch.nn.init.normal_(alignment.offsets.weight, std=0.05)
    torch.nn.init.normal_(alignment.psi_scale)
    torch.nn.init.normal_(alignment.psi_shift)
    plain, guide, maps = torch.randn(2, 4, 12, 12), torch.randn(2, 3, 12, 12), torch.randn(2, 5, 12, 12)
    offsets = alignment.offsets(torch.cat([plain, guide], 1))
    assert 0.5 < offsets.abs().max() < 3
    convolved = deform_conv2d(guide, offsets, alignment.kernel, padding=1)
    moved, moved_maps = alignment(plain, guide, maps)
    assert torch.allclose(moved, alignment.psi_scale * convolved + alignment.psi_shift, atol=1e-4)
    middle_tap = torch.zeros(1, 1, 3, 3)
    middle_tap[..., 1, 1] = 1
    for k in range(5):
        expected = deform_conv2d(maps[:, k : k + 1], offsets, middle_tap, padding=1)
        inside = (..., slice(3, 9), slice(3, 9))  # at the border it reads the border, not zeros
        assert torch.allclose(moved_maps[:, k : k + 1][inside], expected[inside], atol=1e-4)


def test_convolving_by_class_equals_convolving_each_stack():
    for guide in (torch.randn(2, 4, 5, 6), None):
        features = MaskFeatures(torch.randn(2, 4, 5, 6), guide, torch.randn(2, 3, 5, 6).log_softmax(1))
        for side in (1, 3, 5):
            kernels = torch.randn(2, 3, 4, side, side)
            found, stacks = features.convolve(kernels), stacks_of(features, 3)
            for b in range(2):
                for k in range(3):
                    expected = F.conv2d(stacks[b, k][None], kernels[b, k][None], padding=side // 2)[0, 0]
                    assert torch.allclose(found[b, k], expected, atol=1e-4)


def test_fused_features_are_equation_5_and_masks_add_the_prior():
    fused = GuidedFeatures(dim=8, channels=4)
    prior = Prior(torch.randn(2, 8, 2, 2), torch.randn(2, 3, 2, 2).log_softmax(1))
    plain, kernels = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 4)
    features = fused(plain, prior)
    each = stacks_of(features, 3)
    enlarged = F.interpolate(prior.log_weights, size=(8, 8), mode="bilinear")
    assert torch.allclose(features.log_weights, enlarged, atol=1e-5)  # offsets start at zero
    for k in range(3):
        expected = plain + enlarged[:, k : k + 1].exp() * features.guide
        assert torch.allclose(each[:, k], expected, atol=1e-5)
        logits = torch.einsum("bc,bchw->bhw", kernels[:, k], expected) + enlarged[:, k]
        assert torch.allclose(features.masks(kernels)[:, k], logits, atol=1e-4)


def test_without_a_prior_all_classes_see_the_plain_features():
    features = MaskFeatures(torch.randn(1, 4, 3, 3))
    assert torch.equal(stacks_of(features, 2)[:, 1], features.plain)
    assert features.masks(torch.ones(1, 2, 4)).shape == (1, 2, 3, 3)
