"""Clicks on a volume that correct what is shown: obeyed, undone, after boxes, on what another network found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering_network import LABELS, AnsweringNetwork, draw_blocks, make_model

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.strokes import clicks_along
from pgsam_monai.prompts.click_files import read_clicks

LIVER, SPLEEN = (10, 8, 3), (28, 20, 4)


def opened(network=None, **options):
    segmenter = Segmenter(make_model(network or AnsweringNetwork(pool=1)), **options)
    segmenter.set_image(draw_blocks()[0])
    return segmenter


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_one_click_a_structure_brings_it_on_all_its_slices():
    label, segmenter = draw_blocks()[1], opened()
    segmenter.add_click(LIVER, "liver")
    segmenter.add_click(SPLEEN, "spleen")
    assert (
        dice(segmenter.mask("liver"), label == 3) > 0.8 and dice(segmenter.mask("spleen"), label == 7) > 0.8
    )


def test_a_network_that_answers_boxes_and_clicks_encodes_a_slice_once():
    network = AnsweringNetwork(pool=1)
    segmenter = opened(network)
    segmenter.add_box((6, 18, 4, 14, 3, 3), "liver")
    segmenter.add_click(LIVER, "liver", positive=False)
    assert len(network.embedded) == len(set(segmenter._session.embeddings._kept))


def test_a_scribble_is_clicks_along_it_all_obeyed_and_one_step():
    """A stroke of 3 voxels' breadth through a block, another that takes its end away."""
    segmenter, label = opened(), draw_blocks()[1]
    stroke = np.zeros(label.shape, bool)
    stroke[6:18, 7:10, 3] = True
    segmenter.add_scribble(np.argwhere(stroke), "liver")
    found = segmenter.mask("liver")
    assert dice(found, label == 3) > 0.8 and found[6:18, 8, 3].sum() >= 2
    away = np.array([(at, 4.4, 2.6) for at in range(4, 20)])
    segmenter.add_scribble(away, "liver", positive=False)
    along = clicks_along(np.rint(away).astype(int), (1, 1, 1))
    assert len(along) >= 3 and not any(segmenter.mask("liver")[voxel] for voxel in along)
    segmenter.undo()
    np.testing.assert_array_equal(segmenter.mask("liver"), found)
    segmenter.undo()
    assert not segmenter.prediction.any()


def test_what_is_no_scribble_is_refused():
    segmenter = opened()
    for voxels, says in (
        (np.zeros((0, 3)), r"got shape \(0, 3\)"), (LIVER, r"got shape \(3,\)"), ([(1, 2)], r"got shape \(1, 2\)"),
        ([(1, 2, np.nan)], "takes voxels"), ([LIVER, (40, 8, 3)], r"whose shape is \(40, 32, 6\)"),
        ([(0, -1, 0)], "outside the image"),
    ):  # fmt: skip
        with pytest.raises(UserFault, match=says):
            segmenter.add_scribble(voxels, "liver")
    with pytest.raises(UserFault, match="no label 'livre'"):
        segmenter.add_scribble([LIVER], "livre")
    assert not segmenter.asked


def test_positive_and_negative_swapped_change_the_answer():
    predictions = []
    for positive in (True, False):
        segmenter = opened()
        segmenter.add_click(LIVER, "liver", positive=positive)
        segmenter.add_click((30, 5, 3), "liver", positive=not positive)
        predictions.append(segmenter.prediction)
    assert predictions[0][LIVER] == 3 != predictions[1][LIVER]
    assert predictions[0][30, 5, 3] == 0 and predictions[1][30, 5, 3] == 3


def test_every_click_of_twenty_stays_obeyed():
    """Also two clicks beside each other that say otherwise, and clicks of two classes in one place."""
    rng, segmenter, said = np.random.default_rng(0), opened(background="everything"), {}
    for _ in range(20):
        voxel = tuple(int(rng.integers(size)) for size in (40, 32, 6))
        label, positive = ("liver", "spleen")[rng.integers(2)], bool(rng.random() < 0.5)
        for place, sign in ((voxel, positive), ((max(voxel[0] - 1, 0), *voxel[1:]), not positive)):
            segmenter.add_click(place, label, positive=sign)
            said[place] = (LABELS[label], sign)
    found = segmenter.prediction
    assert all((found[voxel] == value) == positive for voxel, (value, positive) in said.items())


def test_every_step_is_undone_exactly():
    segmenter, seen = opened(), []
    steps = [
        lambda: segmenter.add_click(LIVER, "liver"),
        lambda: segmenter.add_click((6, 6, 3), "liver", positive=False),
        lambda: segmenter.add_box((24, 33, 14, 27, 3, 3), "spleen"),
        lambda: segmenter.add_click((26, 16, 3), "spleen", positive=False),
        lambda: segmenter.propagate("spleen"),
        lambda: segmenter.reset("liver"),
        lambda: segmenter.reset(),
    ]
    for step in steps:
        seen.append(segmenter.prediction)
        step()
    assert not segmenter.prediction.any() and seen[-1].any() and not (seen[-1] == 3).any()
    for before in reversed(seen):
        segmenter.undo()
        np.testing.assert_array_equal(segmenter.prediction, before)
    with pytest.raises(RuntimeError, match="nothing is left"):
        segmenter.undo()
    for after in seen[1:]:
        segmenter.redo()
        np.testing.assert_array_equal(segmenter.prediction, after)
    segmenter.add_click(LIVER, "liver")
    with pytest.raises(RuntimeError, match="nothing was undone"):
        segmenter.redo()


def test_after_a_failure_all_is_as_before(monkeypatch):
    segmenter = opened()
    segmenter.add_click(LIVER, "liver")
    before, asked = segmenter.prediction, segmenter.asked
    monkeypatch.setattr(segmenter.model.network, "answer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        segmenter.add_prompts(
            read_clicks(
                {"labels": {"liver": {"negative": [[10, 8, 3]]}, "spleen": {"positive": [[28, 20, 4]]}}}
            )
        )
    np.testing.assert_array_equal(segmenter.prediction, before)
    assert segmenter.asked.keys() == asked.keys()
    segmenter.undo()
    assert not segmenter.prediction.any()


def test_what_ran_out_is_taken_back_as_a_whole_by_the_next_click():
    """Two bright rooms with a door between them on every slice: a click into the one brings both."""
    image = np.zeros((40, 32, 6), np.float32)
    for room in np.s_[4:16, 4:28, 1:], np.s_[22:36, 4:28, 1:], np.s_[16:22, 15:17, 1:]:
        image[room] = 375
    segmenter = Segmenter(make_model(AnsweringNetwork(pool=1)))
    segmenter.set_image(image)
    segmenter.add_click((10, 16, 3), "liver")
    ran_out = segmenter.mask("liver")
    assert ran_out[22:36, 4:28, 1:].all() and ran_out[4:16, 4:28, 1:].all()
    segmenter.add_click(
        (19, 16, 3), "liver", positive=False
    )  # in the door: the network takes 8 pixels around away
    found = segmenter.mask("liver")
    assert found[4:8, 4:28, 1:].all() and not found[24:36, 4:28].any()
    segmenter.undo()
    np.testing.assert_array_equal(segmenter.mask("liver"), ran_out)


def test_clicks_correct_the_answer_to_a_box():
    segmenter = opened(AnsweringNetwork())
    segmenter.add_box((24, 33, 14, 27, 3, 3), "spleen")
    boxed = segmenter.mask("spleen")
    segmenter.add_click((25, 15, 3), "spleen", positive=False)
    corrected = segmenter.mask("spleen")
    assert boxed[25, 15, 3] and not corrected[25, 15, 3] and corrected[28, 20, 3]
    assert not (corrected & ~boxed).any()


def test_boxes_and_clicks_on_several_channels_are_answered_by_a_network_of_one():
    image = draw_blocks()[0]
    segmenter = Segmenter(make_model(AnsweringNetwork(pool=1)))
    segmenter.set_image(np.stack([2 * image, np.zeros_like(image)]))
    segmenter.add_box((24, 33, 14, 27, 3, 3), "spleen")
    segmenter.add_click(LIVER, "liver")
    assert segmenter.prediction[28, 20, 3] == 7 and segmenter.prediction[LIVER] == 3


def test_what_the_network_finds_is_asked_once_a_slice(monkeypatch):
    asked, everything = [], AnsweringNetwork.everything

    def counted(network, features):
        asked.append(len(features.embedding))
        return everything(network, features)

    monkeypatch.setattr(AnsweringNetwork, "everything", counted)
    segmenter = opened(background="everything")
    segmenter.add_click((6, 6, 3), "liver", positive=False)
    segmenter.add_click((28, 20, 4), "spleen", positive=False)
    segmenter.undo()
    assert segmenter.prediction[6, 6, 3] == 0 and sum(asked) == 6


def test_clicks_at_once_are_clicks_one_by_one():
    one_by_one, at_once = opened(), opened()
    places = [(8, 8, 3), (30, 20, 3), (12, 12, 3)]
    for place in places:
        one_by_one.add_click(place, "liver")
    at_once.add_prompts(read_clicks({"labels": {"liver": {"positive": [list(place) for place in places]}}}))
    np.testing.assert_array_equal(one_by_one.prediction, at_once.prediction)


@pytest.fixture
def scan(tmp_path):
    import nibabel as nib

    file = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(draw_blocks()[0], np.eye(4)), file)
    return file


def test_what_another_network_found_is_corrected(scan):
    """A false spleen beside the right one goes with one click; nothing else changes."""
    wrong = draw_blocks()[1].copy()
    wrong[2:12, 22:30, 1:5] = 7
    model = make_model(AnsweringNetwork(pool=1), knows_everything=False)
    segmenter = Segmenter(model, background="everything", finds=lambda image: wrong)
    segmenter.set_image(scan)
    np.testing.assert_array_equal(segmenter.prediction, wrong)
    segmenter.add_click((6, 26, 2), "spleen", positive=False)
    np.testing.assert_array_equal(segmenter.prediction, draw_blocks()[1])
    with pytest.raises(UserFault, match="segments files; write the array to one"):
        segmenter.set_image(draw_blocks()[0])


def test_another_network_answers_clicks():
    """A corrector of one class knows nothing of the model's, and the model isn't asked."""
    model, corrector = (
        make_model(),
        make_model(AnsweringNetwork(num_classes=1, pool=1), names=["object"], values=[0, 1]),
    )
    segmenter = Segmenter(model, corrector=corrector)
    segmenter.set_image(draw_blocks()[0])
    segmenter.add_click(SPLEEN, "spleen")
    assert segmenter.prediction[SPLEEN] == 7 and not model.network.prompts
    assert {prompts.labels.shape[1] for prompts in corrector.network.prompts} == {1}


def test_the_latest_answer_goes_in_with_a_further_click_if_wanted():
    for feedback in (True, False):
        network = AnsweringNetwork()
        segmenter = opened(network, mask_feedback=feedback, corrections="ask")
        segmenter.add_click(LIVER, "liver")
        answered = segmenter.asked[(3, 1)].logits
        segmenter.add_click((12, 9, 3), "liver", positive=False)
        assert network.prompts[0].masks is None
        given = network.prompts[1]
        assert (given.has_mask is not None) is feedback
        if feedback:
            assert torch.equal(given.masks[0, 0], answered) and given.has_mask.tolist() == [[True, False]]
        assert given.labels[0, 0].tolist() == [1, 0]
        segmenter.add_box((4, 19, 4, 13, 3, 3), "liver")
        assert network.prompts[-1].masks is None  # another box begins anew
    with pytest.raises(ValueError, match="corrections must be one of"):
        opened(corrections="none")
