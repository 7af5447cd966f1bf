"""Eq. 1 to 3 against direct transcriptions, and the repairs' point."""

from __future__ import annotations

import math

import torch

from pgsam_monai.networks.pgsam.aligner import (
    DualNorm,
    ImageEvidence,
    PriorAligner,
    attend_to_alike,
    centre_texts,
    global_similarity,
    patch_similarity,
)


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_similarity_is_the_cosine_to_what_tells_a_text_from_the_others():
    texts, image = torch.randn(3, 5) + 4, torch.randn(2, 5)
    unit = torch.stack([text / text.norm() for text in texts])
    found = global_similarity(image, centre_texts(texts))
    for b in range(2):
        for k in range(3):
            assert math.isclose(found[b, k], cosine(image[b], unit[k] - unit.mean(0)), abs_tol=1e-5)


def test_texts_in_the_same_words_make_no_difference_and_no_nan():
    same = torch.randn(1, 5).expand(3, 5)
    assert torch.equal(centre_texts(same).isnan(), torch.zeros(3, 5, dtype=torch.bool))
    assert global_similarity(torch.randn(2, 5), centre_texts(same)).abs().max() < 1e-3


def test_attention_is_equation_2_and_the_sum_in_equation_3():
    tokens = torch.randn(2, 6, 4)
    for b in range(2):
        F = tokens[b]
        normed = (F - F.mean(1, keepdim=True)) / (F.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        A = torch.softmax(normed @ normed.T / math.sqrt(4), dim=-1)
        assert torch.allclose(attend_to_alike(tokens)[b], F + A @ F, atol=1e-5)


def test_dual_norm_is_channels_then_positions():
    norm, x = DualNorm(4), torch.randn(1, 6, 4)
    over_channels = (x - x.mean(2, keepdim=True)) / (x.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    centred = over_channels - over_channels.mean(1, keepdim=True)
    expected = centred / (over_channels.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(norm(x), expected, atol=1e-5)


def test_the_aligner_equals_the_formulas():
    aligner = PriorAligner(text_dim=5, image_dim=5, channels=4, match_dim=3)
    embedding, image, texts = torch.randn(2, 4, 2, 3), torch.randn(2, 5), torch.randn(3, 5)
    prior = aligner(embedding, ImageEvidence(image), texts)
    guide, weights = prior.guide, prior.weights
    assert guide.shape == (2, 4, 2, 3) and weights.shape == (2, 3, 2, 3)
    tokens = aligner.norm(attend_to_alike(embedding.flatten(2).transpose(1, 2)))
    assert torch.allclose(guide.flatten(2).transpose(1, 2), tokens)
    centred, S = centre_texts(texts), global_similarity(image, centre_texts(texts))
    queries, keys = centred @ aligner.project_text.weight.T, tokens @ aligner.project_position.weight.T
    for b in range(2):
        for place in range(6):
            logits = torch.stack([10 * S[b, k] + 10 * cosine(queries[k], keys[b, place]) for k in range(3)])
            assert torch.allclose(weights[b].flatten(1)[:, place], logits.softmax(0), atol=1e-4)


def guide_as_printed(features, weights):
    """Eq. 3 as the paper prints it: the norms after the product with W."""
    product = (features * weights.unsqueeze(-1)).unsqueeze(0)
    return DualNorm(features.shape[-1])(product)[0]


def test_as_printed_the_weights_are_normalised_away_and_here_they_survive():
    features = attend_to_alike(torch.randn(1, 196, 256))[0]
    strong, weak = torch.rand(196) * 0.4 + 0.5, torch.rand(196) * 0.4 + 0.1
    printed = [guide_as_printed(features, weights) for weights in (strong, weak)]
    change = (printed[0] - printed[1]).norm() / printed[0].norm()
    assert change < 0.01
    kept = [DualNorm(256)(features[None])[0] * weights.unsqueeze(-1) for weights in (strong, weak)]
    assert (kept[0] - kept[1]).norm() / kept[0].norm() > 0.5


def test_exchanging_two_texts_exchanges_their_maps_and_touches_no_other():
    aligner = PriorAligner(text_dim=8, image_dim=8, patches=True, channels=6, match_dim=4)
    embedding, texts = torch.randn(1, 6, 3, 3), torch.randn(4, 8)
    image = ImageEvidence(torch.randn(1, 8), torch.randn(1, 8, 2, 2))
    before = aligner(embedding, image, texts).weights
    after = aligner(embedding, image, texts[[0, 2, 1, 3]]).weights
    assert torch.allclose(before[:, [0, 2, 1, 3]], after, atol=1e-5)
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-2)


def test_a_patch_is_compared_by_what_tells_it_from_the_others_of_its_image():
    patches, texts = torch.randn(2, 4, 5) + 3, centre_texts(torch.randn(3, 5))
    found = patch_similarity(patches, texts[None])
    for b in range(2):
        for k in range(3):
            for n in range(4):
                expected = cosine(patches[b, n] - patches[b].mean(0), texts[k])
                assert math.isclose(found[b, k, n], expected, abs_tol=1e-5)


def test_in_the_texts_own_space_w_is_the_softmax_of_three_cosines():
    aligner = PriorAligner(text_dim=5, image_dim=5, patches=True, channels=4, match_dim=None)
    embedding, texts = torch.randn(1, 4, 2, 2), torch.randn(3, 5)
    image = ImageEvidence(torch.randn(1, 5), torch.randn(1, 5, 2, 2))
    weights = aligner(embedding, image, texts).weights
    tokens = aligner.norm(attend_to_alike(embedding.flatten(2).transpose(1, 2)))[0]
    centred, keys = centre_texts(texts), tokens @ aligner.project_position.weight.T
    patches = image.patches[0].flatten(1).T
    for place in range(4):
        logits = torch.tensor(
            [
                10 * cosine(text, image.whole[0])
                + 10 * cosine(text, keys[place])
                + 10 * cosine(text, patches[place] - patches.mean(0))
                for text in centred
            ]
        )
        assert torch.allclose(weights[0].flatten(1)[:, place], logits.softmax(0), atol=1e-4)


def test_images_may_have_texts_of_their_own():
    aligner = PriorAligner(text_dim=5, image_dim=7, patches=True, channels=4, match_dim=None)
    embedding, texts = torch.randn(2, 4, 2, 2), torch.randn(2, 3, 5)
    image = ImageEvidence(torch.randn(2, 7), torch.randn(2, 7, 3, 3))
    together = aligner(embedding, image, texts).weights
    for b in range(2):
        own = ImageEvidence(image.whole[b : b + 1], image.patches[b : b + 1])
        assert torch.allclose(
            together[b : b + 1], aligner(embedding[b : b + 1], own, texts[b]).weights, atol=1e-5
        )


def test_a_base_rate_multiplies_what_the_texts_say():
    torch.manual_seed(0)
    plain = PriorAligner(text_dim=5, channels=4, match_dim=None)
    rated = PriorAligner(text_dim=5, channels=4, match_dim=None, base_rates=3)
    rated.load_state_dict(plain.state_dict(), strict=False)
    embedding, texts = torch.randn(1, 4, 2, 2), torch.randn(3, 5)
    before, after = plain(embedding, None, texts).weights, rated(embedding, None, texts).weights
    raised = before * torch.tensor([math.e**3, 1, 1]).reshape(1, 3, 1, 1)
    assert torch.allclose(after, raised / raised.sum(1, keepdim=True), atol=1e-5)
