"""Clicks and boxes in the mask prompt, by hand."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.medsa.prompt_maps import CLICK_LOGIT, MARGIN, OUTSIDE_LOGIT, draw_prompts, obey
from pgsam_monai.prompts.points import ABSENT, BOX_FIRST, BOX_LAST, NEGATIVE, PADDING, POSITIVE
from pgsam_monai.transforms.fit import enlarge


def drawn(points, labels, **more) -> torch.Tensor:
    """One question on a square of 32, whose mask prompt has 8 pixels a side."""
    places, kinds = torch.tensor([points], dtype=torch.float32), torch.tensor([labels])
    return draw_prompts(places, kinds, stride=4.0, size=(8, 8), **more)[0]


def test_a_click_is_seen_at_its_pixel_with_its_sign():
    """(x, y) = (21.5, 5.5) is the centre of column 5, row 1."""
    positive = drawn([(21.5, 5.5), (0, 0), (9, 9)], [POSITIVE, ABSENT, PADDING])
    assert positive[1, 5] == CLICK_LOGIT == positive.max()
    assert positive[7, 0].abs() < 1e-3 and positive[1, 6] == pytest.approx(CLICK_LOGIT, abs=3)
    assert torch.equal(drawn([(21.5, 5.5)], [NEGATIVE]), -positive)


def test_outside_a_box_is_held_down_and_inside_is_open():
    """Corners (4, 8) and (11, 23): columns 1 and 2, rows 2 to 5."""
    boxed = drawn([(4, 8), (11, 23)], [BOX_FIRST, BOX_LAST])
    assert (boxed[2:6, 1:3] == 0).all()
    assert (boxed == OUTSIDE_LOGIT).sum() == 64 - 8


def test_an_earlier_answer_goes_in_corrected_by_its_clicks_and_bounded():
    given = torch.full((1, 8, 8), 50.0)
    map_ = drawn([(21.5, 5.5)], [NEGATIVE], masks=given, has_mask=torch.tensor([True]))
    assert map_[1, 5] == -CLICK_LOGIT and map_[7, 0] == CLICK_LOGIT
    ignored = drawn([(21.5, 5.5)], [NEGATIVE], masks=given, has_mask=torch.tensor([False]))
    assert ignored[7, 0].abs() < 1e-3


def test_answers_obey_clicks_and_change_nowhere_else():
    """Against a click inside, for one outside; the third is obeyed already, the fourth is no click."""
    logits = torch.full((1, 8, 8), -3.0)
    logits[0, :, :4] = 5.0
    points = torch.tensor([[[5.0, 9.0], [27.0, 22.0], [30.0, 2.0], [2.0, 30.0]]])
    labels = torch.tensor([[NEGATIVE, POSITIVE, NEGATIVE, ABSENT]])
    obeyed = obey(logits, points, labels, stride=4.0)
    square = enlarge(obeyed[:, None], (32, 32))[0, 0]
    assert square[9, 5] == pytest.approx(-MARGIN, abs=0.1)
    assert square[22, 27] == pytest.approx(MARGIN, abs=0.1)
    assert square[2, 30] == pytest.approx(-3, abs=1e-3) and square[30, 2] == pytest.approx(5, abs=1e-3)


def test_the_later_of_two_clicks_on_one_pixel_counts():
    points, labels = torch.tensor([[[9.0, 9.0], [9.0, 9.0]]]), torch.tensor([[POSITIVE, NEGATIVE]])
    obeyed = obey(torch.zeros(1, 8, 8), points, labels, stride=4.0)
    assert enlarge(obeyed[:, None], (32, 32))[0, 0, 9, 9] == pytest.approx(-MARGIN, abs=0.1)


def test_an_answer_depends_on_where_a_click_lies_before_anything_is_learnt():
    torch.manual_seed(0)
    network = MedSA(
        num_classes=1, image_size=64, backbone="vit_tiny", encoder_training="frozen", prompt_maps=True
    )
    features = network.eval().embed(torch.rand(1, 1, 64, 64))
    points = torch.tensor([[[10.0, 12.0]], [[50.0, 40.0]]])
    features = features._replace(
        embedding=features.embedding.expand(2, -1, -1, -1),
        skips=tuple(skip.expand(2, -1, -1, -1) for skip in features.skips),
    )
    with torch.no_grad():
        first, second = network.answer_pairs(
            features, points, torch.full((2, 1), POSITIVE), torch.zeros(2).long()
        )[0]
    assert not torch.allclose(first, second, atol=1e-3)
    assert network.description["prompt_maps"]
