"""What tells texts apart: nothing but it is left, and alike in every direction where that is wanted."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pgsam_monai.networks.refsam3d.whitening import TextContrast

ALIKE = F.normalize(
    torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0.1, 1, 1, 0]]), dim=-1
)
"""Four sentences, of which the last two differ in a tenth of a word, as left and right do."""


def cosines(vectors):
    directions = F.normalize(vectors, dim=-1)
    return directions @ directions.T


def contrasted(text, sentences=ALIKE, *, whitened=True):
    return TextContrast(whitened=whitened)(text, sentences)


def test_by_default_the_mean_is_taken_away_and_nothing_else():
    torch.testing.assert_close(contrasted(3 * ALIKE, whitened=False), ALIKE - ALIKE.mean(0))


def test_whitened_sentences_are_equally_far_apart():
    plain, white = (contrasted(ALIKE, whitened=on) for on in (False, True))
    assert cosines(plain)[2, 3] > 0.9 and cosines(white)[2, 3] < 0.3
    ratios = [torch.pdist(each).max() / torch.pdist(each).min() for each in (plain, white)]
    assert ratios[0] > 9 and ratios[1] < 2, "the shortest is a tenth, near the floor"


def test_what_no_class_differs_by_stays_as_it_is():
    foreign = torch.tensor([[0.0, 0, 0, 0, 1]])
    torch.testing.assert_close(contrasted(foreign)[0, 4], contrasted(foreign, whitened=False)[0, 4])


def test_equal_sentences_bring_no_infinities():
    assert contrasted(ALIKE, ALIKE[:1].repeat(3, 1)).isfinite().all()


def test_gradients_reach_the_mean():
    sentences = ALIKE.clone().requires_grad_()
    contrasted(ALIKE[:1], sentences).square().sum().backward()
    assert sentences.grad.abs().max() > 0


def test_other_sentences_are_whitened_anew():
    contrast = TextContrast(whitened=True)
    contrast(ALIKE, ALIKE)
    others = ALIKE.flip(1).clone()
    torch.testing.assert_close(contrast(ALIKE, others), contrasted(ALIKE, others))


def test_a_trace_takes_directions_along_and_computes_none():
    contrast = TextContrast(whitened=True).eval()
    contrast.prepare(ALIKE)
    traced = torch.jit.trace(contrast, (ALIKE, ALIKE), check_trace=False)
    torch.testing.assert_close(traced(2 * ALIKE, ALIKE), contrast(ALIKE, ALIKE))
    assert "svd" not in str(traced.inlined_graph)
    assert {name for name, _ in traced.named_buffers()} == {
        "directions",
        "gains",
    } and not contrast.state_dict()
