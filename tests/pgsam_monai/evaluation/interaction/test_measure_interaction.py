"""Measuring interaction: counts on native voxels, simulated users, encoding once, nothing depends on batches."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from answering_network import AnsweringNetwork, draw_blocks, make_model
from small_volumes import oblique_affine

from pgsam_monai.evaluation.interaction.measure import (
    EVERYTHING,
    EVERYTHING_THERE,
    InteractionSettings,
    measure_interaction,
)
from pgsam_monai.evaluation.interaction.scores import CaseScores
from pgsam_monai.evaluation.interaction.users import AT_ONCE, ClickingUser, ask_at_once, draw
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.volume import Place, read_volume
from pgsam_monai.prompts.boxes import tight_box
from pgsam_monai.prompts.points import point_list

SETTINGS = InteractionSettings(clicks=(1, 2, 4))


@pytest.fixture
def case(tmp_path):
    """Turned and anisotropic, one structure on fewer slices than the other."""
    image, label = draw_blocks((64, 64, 6))
    affine = oblique_affine(axes=(1, 2, 0), signs=(1, -1, 1))
    files = {"image": str(tmp_path / "scan.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    nib.save(nib.Nifti1Image(image, affine), files["image"])
    nib.save(nib.Nifti1Image(label, affine), files["label"])
    return {"name": "scan", **files}


def dice_of(scores, prompts, label="liver", seed=0):
    (found,) = [
        one.dice for one in scores.scores if (one.prompts, one.label, one.seed) == (prompts, label, seed)
    ]
    return found


def test_whom_everything_is_plain_answers_perfectly(case):
    network = AnsweringNetwork(pool=1)
    scores = measure_interaction(make_model(network, axcodes="IPR"), case, SETTINGS)
    for label in ("liver", "spleen"):
        for prompts in ("1 click", "4 clicks", "3 points", "box"):
            assert dice_of(scores, prompts, label) == 1
        assert dice_of(scores, "box 0.5", label) < 1
        assert dice_of(scores, EVERYTHING, label, seed=None) == 1
    assert [(one.label, one.goal, one.after, one.never) for one in scores.needed if one.goal == 0.9] == [
        ("liver", 0.9, (4, 0, 0, 0), 0), ("spleen", 0.9, (4, 0, 0, 0), 0),
    ]  # fmt: skip
    assert {one.slices for one in scores.scores} == {4}
    # a click on each of four slices, and no further one
    assert [(one.label, one.given, one.obeyed) for one in scores.obeyed] == [
        ("liver", (4, 4, 4, 4), (4, 4, 4, 4)), ("spleen", (4, 4, 4, 4), (4, 4, 4, 4)),
    ]  # fmt: skip
    assert sum(len(prompts.labels) for prompts in network.prompts) < 6 * 9  # the satisfied click no more


def test_each_slice_is_encoded_once_for_all(case):
    settings = InteractionSettings(clicks=(1, 3), seeds=(0, 1, 5))
    for options in ({}, {"batch_size": 2}, {"batch_size": 100}):
        network = AnsweringNetwork()
        measure_interaction(make_model(network, axcodes="IPR", **options), case, settings)
        assert sum(count for count, _ in network.embedded) == 6
    network = AnsweringNetwork()
    measure_interaction(make_model(network, axcodes="IPR", knows_everything=False), case, settings)
    assert sum(count for count, _ in network.embedded) == 5  # slice 0 holds nothing
    network = AnsweringNetwork(stack_depth=4)
    measure_interaction(make_model(network, axcodes="IPR", batch_size=3), case, settings)
    assert network.embedded == [(4, 4), (4, 4)]  # slices 0-3 and 2-5


def test_the_dice_is_that_of_the_files_voxels(case):
    """The tight box of every slice through a Segmenter, counted in the files' own voxels."""
    model = make_model(axcodes="IPR")
    label = np.asarray(nib.load(case["label"]).dataobj)
    segmenter = Segmenter(model)
    segmenter.set_image(case["image"])
    for value, name in ((3, "liver"), (7, "spleen")):
        for at in range(6):  # slices lie along k
            box = tight_box(label[..., at] == value)
            if box is not None:
                segmenter.add_box((box.row0, box.row1, box.col0, box.col1, at, at), name)
    scores = measure_interaction(model, case, SETTINGS)
    for value, name in ((3, "liver"), (7, "spleen")):
        found, reference = segmenter.mask(name), label == value
        expected = 2 * (found & reference).sum() / (found.sum() + reference.sum())
        assert 0.5 < expected < 1
        assert dice_of(scores, "box", name) == pytest.approx(expected, abs=1e-12)


def test_everything_counts_what_it_finds_on_slices_without_the_class(case):
    network = AnsweringNetwork(pool=1)
    image = nib.load(case["image"])
    voxels = np.asarray(image.dataobj).copy()
    voxels[40:50, 40:50, 0] = 400  # as bright as the liver, on a slice without one
    nib.save(nib.Nifti1Image(voxels, image.affine), case["image"])
    scores = measure_interaction(make_model(network, axcodes="IPR"), case, SETTINGS)
    liver = 16 * 10 * 4
    assert dice_of(scores, EVERYTHING, seed=None) == pytest.approx(2 * liver / (2 * liver + 100))
    assert dice_of(scores, EVERYTHING_THERE, seed=None) == 1
    assert dice_of(scores, "box") == 1


def test_results_depend_neither_on_batches_nor_on_other_seeds(case):
    reference = measure_interaction(make_model(axcodes="IPR"), case, SETTINGS)
    for options in ({"batch_size": 1}, {"batch_size": 7}):
        assert measure_interaction(make_model(axcodes="IPR", **options), case, SETTINGS) == reference
    several = measure_interaction(make_model(axcodes="IPR"), case, replace(SETTINGS, seeds=(3, 0)))
    assert [one for one in several.scores if one.seed in (None, 0)] == list(reference.scores)
    assert dice_of(several, "box 0.5", seed=3) != dice_of(several, "box 0.5", seed=0)
    fewer = measure_interaction(make_model(axcodes="IPR"), case, replace(SETTINGS, clicks=(2,)))
    assert dice_of(fewer, "2 clicks") == dice_of(reference, "2 clicks")


def test_wrong_points_do_harm(case):
    scores = measure_interaction(make_model(AnsweringNetwork(pool=1), axcodes="IPR"), case, SETTINGS)
    assert dice_of(scores, "3 points with 2 wrong") < dice_of(scores, "3 points")


def test_a_user_clicks_into_the_largest_error_and_stops_when_satisfied(case):
    volume = read_volume(make_model(axcodes="IPR"), case["image"])
    H, W = volume.image.shape[1:3]
    target = np.zeros((H, W), bool)
    target[4:20, 4:14] = True
    for feedback in (False, True):
        user = ClickingUser(volume=volume, target=target, feedback=feedback)
        first = user.click(draw("scan", Place(2, 1), 0, "clicks"))
        assert first.points.labels.tolist() == [1] and first.mask is None
        found = target.copy()
        found[4:8] = False  # missed: 40 pixels
        found[30:33, 30:33] = True  # too much: 9
        user.see("logits", found)
        second = user.click(None)
        (_, (x, y)), labels = second.points.points, second.points.labels
        scale = volume.frame.fitted_height / H, volume.frame.fitted_width / W
        assert labels.tolist() == [1, 1]
        assert 4 <= (y + 0.5) / scale[0] <= 8 and 4 <= (x + 0.5) / scale[1] <= 14
        assert second.mask == ("logits" if feedback else None)
        user.see("logits", target)
        assert user.click(None) is None and user.click(None) is None and user.satisfied


def test_clicks_are_obeyed_where_the_answer_has_their_value():
    target = np.zeros((20, 20), bool)
    target[4:10, 4:10] = True
    user = ClickingUser(volume=None, target=target, feedback=False)
    user._pixels = point_list([(5, 4), (9, 8), (15, 2), (3, 12)], [1, 1, 0, 0])  # x, y
    for rows, columns, held in (
        ((4, 10), (4, 10), 4), ((4, 6), (4, 10), 3), ((0, 20), (0, 20), 2), ((8, 13), (3, 4), 1), ((0, 0), (0, 0), 2),
    ):  # fmt: skip
        user.found = np.zeros_like(target)
        user.found[slice(*rows), slice(*columns)] = True
        assert user.obeyed == (held, 4)


def test_clicks_that_nobody_obeys_are_counted(case):
    """Whoever answers nothing everywhere disobeys each of the 8 slices' positive clicks, again and again."""

    class Deaf(AnsweringNetwork):
        def answer(self, features, prompts):
            return super().answer(features, prompts) * 0 - 1

    scores = measure_interaction(make_model(Deaf(), axcodes="IPR"), case, SETTINGS)
    assert {(one.given, one.obeyed) for one in scores.obeyed} == {((4, 8, 12, 16), (0, 0, 0, 0))}
    assert CaseScores.from_json(scores.to_json()) == scores


def test_draws_differ_by_case_place_seed_and_kind_alone(case):
    volume, target = read_volume(make_model(axcodes="IPR"), case["image"]), np.zeros((64, 64), bool)
    target[10:40, 5:50] = True

    def points(*key):
        return ask_at_once(volume, target, "3 points", draw(*key)).points.points.tolist()

    base = ("scan", Place(2, 1), 0, "3 points")
    assert points(*base) == points(*base)
    others = [("other", *base[1:]), ("scan", Place(3, 1), *base[2:]), ("scan", Place(2, 2), *base[2:]),
              ("scan", Place(2, 1), 1, "3 points")]  # fmt: skip
    assert all(points(*other) != points(*base) for other in others)
    assert all(ask_at_once(volume, target, what, draw(*base)).mask is None for what in AT_ONCE)


def test_faults_are_told(case, tmp_path):
    with pytest.raises(ValueError, match="clicks must be different whole numbers of at least 1, got 0, 2"):
        InteractionSettings(clicks=(0, 2))
    with pytest.raises(ValueError, match="seeds must be different.*got none"):
        InteractionSettings(seeds=())
    short = tmp_path / "short.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((64, 64, 5), np.uint8), nib.load(case["label"]).affine), short)
    with pytest.raises(ValueError, match="Case 'scan': image shape .* and label shape .* differ"):
        measure_interaction(make_model(axcodes="IPR"), {**case, "label": str(short)})
