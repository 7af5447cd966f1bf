"""What tells texts apart: nothing but it is left, and alike in every direction where that is wanted."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pgsam_monai.networks.refsam3d.whitening import contrast_of, differences

ALIKE = F.normalize(
    torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0.1, 1, 1, 0]]), dim=-1
)
"""Four sentences, of which the last two differ in a tenth of a word, as left and right do."""


def cosines(vectors):
    directions = F.normalize(vectors, dim=-1)
    return directions @ directions.T


def test_by_default_the_mean_is_taken_away_and_nothing_else():
    contrast = contrast_of(ALIKE, whitened=False)
    torch.testing.assert_close(differences(3 * ALIKE, contrast), ALIKE - ALIKE.mean(0))
    assert contrast.directions is None


def test_whitened_sentences_are_equally_far_apart():
    plain, white = (differences(ALIKE, contrast_of(ALIKE, whitened=on)) for on in (False, True))
    assert cosines(plain)[2, 3] > 0.9
    assert cosines(white)[2, 3] < 0.3
    ratios = [torch.pdist(each).max() / torch.pdist(each).min() for each in (plain, white)]
    assert ratios[0] > 9 and ratios[1] < 2, "the shortest is a tenth, near the floor"


def test_what_no_class_differs_by_stays_as_it_is():
    contrast = contrast_of(ALIKE, whitened=True)
    foreign = F.normalize(torch.tensor([[0.0, 0, 0, 0, 1]]), dim=-1)
    plain = differences(foreign, contrast_of(ALIKE, whitened=False))
    torch.testing.assert_close(differences(foreign, contrast)[0, 4], plain[0, 4])


def test_equal_sentences_bring_no_infinities():
    white = differences(ALIKE, contrast_of(ALIKE[:1].repeat(3, 1), whitened=True))
    assert white.isfinite().all()


def test_gradients_reach_the_mean():
    sentences = ALIKE.clone().requires_grad_()
    differences(ALIKE[:1], contrast_of(sentences, whitened=True)).square().sum().backward()
    assert sentences.grad.abs().max() > 0
