"""Clicks on a volume that correct an answer, or what is shown without any."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering_network import AnsweringNetwork, draw_blocks, make_model

from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.prompts.click_files import read_clicks

LIVER = (10, 8, 3)


def test_the_first_click_corrects_what_is_shown_and_asks_nothing():
    """Everything shows the liver; a click takes a piece of it away, near the click alone, without a question."""
    model = make_model()
    segmenter = Segmenter(model, background="everything")
    segmenter.set_image(draw_blocks()[0])
    shown = segmenter.prediction
    assert shown[6, 6, 3] == 3 and shown[18, 12, 3] == 3
    segmenter.add_click((6, 6, 3), "liver", positive=False)
    corrected = segmenter.prediction
    assert corrected[6, 6, 3] == 0 and corrected[18, 12, 3] == 3
    changed = np.argwhere(corrected != shown)
    assert (changed[:, 2] == 3).all() and np.abs(changed[:, :2] - (6, 6)).max() <= 8
    segmenter.add_click((28, 5, 3), "liver")  # where nothing is
    assert segmenter.prediction[28, 5, 3] == 3 and segmenter.prediction[6, 6, 3] == 0
    assert model.network.prompts == []
    segmenter.undo()
    np.testing.assert_array_equal(segmenter.prediction, corrected)


def test_a_click_of_one_class_wins_over_what_is_shown_of_another():
    """Also where the other, clicked elsewhere on the slice, is far surer."""
    segmenter = Segmenter(make_model(), background="everything")
    segmenter.set_image(draw_blocks()[0])
    segmenter.add_click((16, 10, 3), "liver")
    segmenter.add_click((8, 8, 3), "spleen")
    assert segmenter.prediction[8, 8, 3] == 7 and segmenter.prediction[16, 10, 3] == 3


def test_a_further_click_moves_the_answer_and_asks_nothing():
    model = make_model()
    segmenter = Segmenter(model)
    segmenter.set_image(draw_blocks()[0])
    segmenter.add_click((8, 8, 3), "liver")
    asked, first = len(model.network.prompts), segmenter.prediction
    segmenter.add_click((18, 12, 3), "liver", positive=False)
    assert len(model.network.prompts) == asked == 1
    assert (
        first[18, 12, 3] == 3 and segmenter.prediction[18, 12, 3] == 0 and segmenter.prediction[8, 8, 3] == 3
    )
    segmenter.add_box((24, 33, 14, 27, 3, 3), "liver")  # another question
    assert len(model.network.prompts) == asked + 1 and segmenter.prediction[28, 20, 3] == 3
    assert segmenter.prediction[18, 12, 3] == 0
    with pytest.raises(ValueError, match="corrections must be one of"):
        Segmenter(model, corrections="none")


def test_clicks_at_once_are_clicks_one_by_one():
    one_by_one, at_once = Segmenter(make_model()), Segmenter(make_model())
    for segmenter in (one_by_one, at_once):
        segmenter.set_image(draw_blocks()[0])
    places = [(8, 8, 3), (30, 20, 3), (12, 12, 3)]
    for place in places:
        one_by_one.add_click(place, "liver")
    at_once.add_prompts(read_clicks({"labels": {"liver": {"positive": [list(place) for place in places]}}}))
    np.testing.assert_array_equal(one_by_one.prediction, at_once.prediction)


def test_the_latest_answer_goes_in_with_a_further_click_if_wanted():
    for feedback in (True, False):
        network = AnsweringNetwork()
        segmenter = Segmenter(make_model(network), mask_feedback=feedback, corrections="ask")
        segmenter.set_image(draw_blocks()[0])
        segmenter.add_click(LIVER, "liver")
        answered = segmenter._session.asked[(3, 1)].logits
        segmenter.add_click((12, 9, 3), "liver", positive=False)
        assert network.prompts[0].masks is None
        given = network.prompts[1]
        assert (given.has_mask is not None) is feedback
        if feedback:
            assert torch.equal(given.masks[0, 0], answered) and given.has_mask.tolist() == [[True, False]]
        assert given.labels[0, 0].tolist() == [1, 0]
        segmenter.add_box((4, 19, 4, 13, 3, 3), "liver")
        assert network.prompts[-1].masks is None  # another box begins anew
