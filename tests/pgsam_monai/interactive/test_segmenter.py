"""Segmenter: coordinates, caching, competition, undo, restoring, errors; with a network that needs no training."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from answering_network import LABELS, AnsweringNetwork, draw_blocks, make_model
from monai.transforms import Compose, Invertd
from small_volumes import oblique_affine

from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.prompts.click_files import read_clicks
from pgsam_monai.prompts.points import point_list, stack_points
from pgsam_monai.transforms import RestoreLabelsd

LIVER, SPLEEN = (10, 8, 3), (28, 20, 4)
"""Voxels inside."""
TURNS = {
    "identity": ((0, 1, 2), (1, 1, 1)),
    "LPS": ((0, 1, 2), (-1, -1, 1)),
    "sagittal first": ((1, 2, 0), (-1, -1, 1)),
    "coronal, turned": ((2, 0, 1), (1, -1, -1)),
}


def write_blocks(folder, affine=None, shape=(40, 32, 6)):
    image, label = draw_blocks(shape)
    file = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image, np.eye(4) if affine is None else affine), file)
    return file, label


@pytest.fixture
def opened():
    """Asked slice by slice; how clicks correct is in test_segmenter_corrections.py."""
    segmenter = Segmenter(make_model(), corrections="ask")
    segmenter.set_image(draw_blocks()[0])
    return segmenter


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("axcodes", ["PLS", "IPR"])
def test_a_click_in_file_voxels_finds_what_lies_there(tmp_path, turn, axcodes):
    affine = oblique_affine(axes=TURNS[turn][0], signs=TURNS[turn][1])
    file, label = write_blocks(tmp_path, affine, shape=(40, 32, 30))
    segmenter = Segmenter(make_model(axcodes=axcodes))
    segmenter.set_image(file)
    liver, spleen = (10, 8, 15), (28, 20, 20)
    segmenter.add_click(liver, "liver")
    segmenter.add_click(spleen, 7)
    found = segmenter.prediction
    slice_axis = {"PLS": 2, "IPR": 0}[axcodes]  # in the world's axes: superior, right
    native_axis = int(np.flatnonzero(np.array(TURNS[turn][0]) == slice_axis)[0])
    for click, value in ((liver, 3), (spleen, 7)):
        at = [slice(None)] * 3
        at[native_axis] = click[native_axis]
        assert dice(found[tuple(at)] == value, label[tuple(at)] == value) > 0.8
    assert found[liver] == 3 and found[spleen] == 7 and found.dtype == np.uint8 and found.shape == label.shape


@pytest.mark.parametrize("turn", TURNS)
def test_restoring_equals_the_bundles_own_way(tmp_path, turn):
    """Prompts through SliceInferer, Invertd and RestoreLabelsd, as `pgsam predict` goes, give the same voxels."""
    file, _ = write_blocks(tmp_path, oblique_affine(axes=TURNS[turn][0], signs=TURNS[turn][1]))
    model = make_model()
    segmenter = Segmenter(model, corrections="ask")
    segmenter.set_image(file)
    data = model.preprocessing({"image": str(file)})
    depth, prompts = data["image"].shape[-1], []
    session, frame = segmenter._session, segmenter._session.volume.frame
    size = np.array([frame.fitted_width, frame.fitted_height])
    for at in range(depth):
        clicks = [point_list([size * (0.3, 0.5 + 0.01 * at)], [1]), point_list([size * (0.6, 0.6)], [1])]
        prompts.append(stack_points([clicks]))
    scale = (frame.width / frame.fitted_width, frame.height / frame.fitted_height)
    back = np.linalg.solve(session.volume.grid.affine, session.volume.affine)
    for at, asked in enumerate(prompts):
        for k, label in enumerate(LABELS):
            column, row = ((asked.points[0, k, 0].numpy() + 0.5) * scale) - 0.5
            segmenter.add_click((back @ (row, column, at, 1))[:3], label)
    asked = iter(prompts)

    def network(image):
        answers = model.network.answer(model.network.embed(image), next(asked))
        logits = torch.nn.functional.pad(answers, (0, 0, 0, 0, 1, 0))
        return torch.nn.functional.interpolate(logits, size=64, mode="bilinear", align_corners=False)

    data["pred"] = SliceInferer(64, batch_size=1)(data["image"][None], network)[0]
    restore = Compose(
        [
            Invertd("pred", model.preprocessing, orig_keys="image"),
            RestoreLabelsd("pred", [0, *LABELS.values()]),
        ]
    )
    restored = restore(data)["pred"][0].numpy()
    assert len(np.unique(restored)) == 3
    np.testing.assert_array_equal(segmenter.prediction, restored)
    assert segmenter.prediction.dtype == restored.dtype


def test_a_slice_is_encoded_once(opened):
    network = opened.model.network
    opened.add_click(LIVER, "liver")
    opened.add_click((12, 9, 3), "liver")
    opened.add_click((28, 20, 3), "spleen")
    opened.undo()
    opened.reset()
    opened.add_click(LIVER, "liver")
    assert network.embedded == [(1, 1)]
    opened.add_click(SPLEEN, "spleen")
    assert network.embedded == [(1, 1), (1, 1)]


def test_a_stack_is_encoded_once_whatever_comes_first():
    image, _ = draw_blocks()
    predictions = []
    for order in ((2, 3, 5), (5, 3, 2)):
        network = AnsweringNetwork(stack_depth=4)
        segmenter = Segmenter(make_model(network), corrections="ask")
        segmenter.set_image(image)
        for k in order:
            segmenter.add_click((28, 20, k), "spleen")
        assert network.embedded == [(4, 4), (4, 4)]  # slices 0-3 and 2-5 of 6, of which 4 and 5 count
        predictions.append(segmenter.prediction)
    np.testing.assert_array_equal(*predictions)


def test_old_embeddings_make_room():
    network = AnsweringNetwork()
    segmenter = Segmenter(make_model(network), memory_gb=3e-6, corrections="ask")  # a slice's take 2 kB
    segmenter.set_image(draw_blocks()[0])
    for k in (2, 3, 2, 4, 3):
        segmenter.add_click((28, 20, k), "spleen")
    assert len(network.embedded) == 5
    segmenter.add_click((27, 19, 3), "spleen")
    assert len(network.embedded) == 5
    segmenter.add_box((24, 33, 14, 27, 2, 5), "spleen")  # more slices than fit are answered all the same
    assert all((segmenter.mask("spleen")[..., k]).any() for k in range(2, 6))


def test_classes_compete_and_keep_their_logits(opened):
    opened.add_click(LIVER, "liver")
    alone = opened.mask("liver")
    opened.add_click(LIVER, "spleen")  # the same logits: the lower index keeps its voxels
    np.testing.assert_array_equal(opened.mask("liver"), alone)
    assert not opened.mask("spleen").any()
    opened.add_click(LIVER, "liver", positive=False)
    assert opened.prediction[LIVER] == 7


def test_undo_and_reset_go_back_exactly(opened):
    states = [opened.prediction]
    opened.add_click(LIVER, "liver")
    states.append(opened.prediction)
    opened.add_box((24, 33, 14, 27, 2, 5), "spleen")
    states.append(opened.prediction)
    opened.add_click(LIVER, "liver", positive=False)
    states.append(opened.prediction)
    opened.reset("spleen")
    assert not opened.mask("spleen").any()
    opened.reset()
    assert not opened.prediction.any()
    asked = len(opened.model.network.prompts)
    opened.undo()
    opened.undo()
    for state in states[::-1]:
        np.testing.assert_array_equal(opened.prediction, state)
        if state.any():
            opened.undo()
    assert len(opened.model.network.prompts) == asked
    with pytest.raises(RuntimeError, match="nothing is left to undo"):
        opened.undo()


def test_boxes_of_both_kinds_lie_on_all_their_slices(opened):
    opened.add_box((24, 33, 14, 27, 2, 5), "spleen")
    label = draw_blocks()[1]
    assert dice(opened.mask("spleen"), label == 7) > 0.8
    first = opened.prediction
    opened.add_box(((33, 27, 5), (24, 14, 2)), "spleen")
    np.testing.assert_array_equal(opened.prediction, first)


def test_a_mask_is_a_prompt(opened):
    label = draw_blocks()[1]
    rough = label.copy()
    rough[4:12] = 0
    opened.add_mask(rough)
    assert dice(opened.mask("liver"), label == 3) > 0.8 and dice(opened.mask("spleen"), label == 7) > 0.8
    opened.reset()
    opened.add_mask(label == 3, "liver")
    assert not opened.mask("spleen").any()
    with pytest.raises(ValueError, match=r"has shape \(3, 3, 3\), the image \(40, 32, 6\)"):
        opened.add_mask(np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="holds none of the classes"):
        opened.add_mask(np.zeros(label.shape, np.uint8))


def test_a_file_of_clicks_is_one_step(opened):
    said = {"liver": {"positive": [LIVER, (6, 6, 3), (10, 8, 2)], "negative": [(30, 20, 3)]},
            "spleen": {"boxes": [(24, 33, 14, 27, 2, 5)]}}  # fmt: skip
    opened.add_prompts(read_clicks({"labels": said}, names=list(LABELS)))
    assert (
        opened.prediction[LIVER] == 3 and opened.prediction[10, 8, 2] == 3 and opened.prediction[SPLEEN] == 7
    )
    assert not opened.mask("liver")[..., 1].any()
    opened.undo()
    assert not opened.prediction.any()
    twice = {"spleen": {"boxes": [(24, 33, 14, 27, 2, 5), (24, 33, 14, 27, 5, 5)]}}
    with pytest.raises(ValueError, match="Class 'spleen': two boxes lie on one slice"):
        opened.add_prompts(read_clicks({"labels": twice}))


def test_everything_shows_where_nobody_asked():
    label = draw_blocks()[1]
    segmenter = Segmenter(make_model(), background="everything", corrections="ask")
    segmenter.set_image(draw_blocks()[0])
    automatic = segmenter.prediction
    assert dice(automatic == 3, label == 3) > 0.8
    segmenter.add_click((10, 8, 3), "liver", positive=True)
    segmenter.add_click((10, 8, 3), "liver", positive=False)
    assert segmenter.prediction[10, 8, 3] != 3 and segmenter.prediction[10, 8, 2] == 3
    assert (segmenter.prediction[..., 3] == 7).sum() == (automatic[..., 3] == 7).sum()
    segmenter.reset()
    np.testing.assert_array_equal(segmenter.prediction, automatic)
    with pytest.raises(ValueError, match="background must be one of"):
        Segmenter(make_model(), background="all")
    with pytest.raises(ValueError, match="never trained without prompts"):
        Segmenter(make_model(knows_everything=False), background="everything")


def test_propagation_fills_the_block_and_stops_at_its_ends(opened):
    label = draw_blocks()[1]
    opened.add_click((28, 20, 3), "spleen")
    opened.add_click((10, 8, 3), "liver")
    opened.propagate("spleen")
    assert dice(opened.mask("spleen"), label == 7) > 0.7
    assert opened.mask("spleen").any(axis=(0, 1)).tolist() == [False, False, True, True, True, True]
    assert opened.mask("liver").any(axis=(0, 1)).tolist() == [False, False, False, True, False, False]
    opened.undo()
    assert opened.mask("spleen").any(axis=(0, 1)).sum() == 1
    opened.propagate(slices=1)
    assert opened.mask("spleen").any(axis=(0, 1)).tolist() == [False, False, True, True, True, False]
    assert opened.mask("liver").any(axis=(0, 1)).tolist() == [False, False, True, True, True, False]
    opened.propagate(slices=1)  # anew, not from what was propagated
    assert opened.mask("spleen").any(axis=(0, 1)).sum() == 3


def test_propagation_leaves_the_users_slices_alone(opened):
    opened.add_click((28, 20, 2), "spleen")
    opened.add_click((28, 20, 5), "spleen")
    opened.add_click((25, 15, 5), "spleen", positive=False)
    own = opened.prediction[..., 5]
    opened.propagate("spleen")
    np.testing.assert_array_equal(opened.prediction[..., 5], own)
    session = opened._session
    assert [place.slice for place, one in sorted(session.asked.items()) if one.propagated] == [3, 4]
    opened.add_click((28, 20, 4), "spleen")
    assert [place.slice for place, one in sorted(session.asked.items()) if one.propagated] == [3]


def test_saving_as_predict_does(tmp_path):
    file, _ = write_blocks(tmp_path, oblique_affine())
    segmenter = Segmenter(make_model())
    segmenter.set_image(file)
    segmenter.add_click(LIVER, "liver")
    for path, written in (("out", "out/scan.nii.gz"), ("more/mine.nii.gz", "more/mine.nii.gz")):
        assert segmenter.save(tmp_path / path) == tmp_path / written
        saved = nib.load(tmp_path / written)
        np.testing.assert_array_equal(np.asarray(saved.dataobj), segmenter.prediction)
        np.testing.assert_array_equal(saved.affine, nib.load(file).affine)
    with pytest.raises(ValueError, match="written as .nii.gz"):
        segmenter.save(tmp_path / "mine.mha")


def test_an_array_with_and_without_an_affine(tmp_path):
    image, label = draw_blocks()
    affine = oblique_affine(axes=(1, 2, 0), signs=(1, -1, 1))
    file, _ = write_blocks(tmp_path, affine)
    predictions = []
    for given in ((file,), (image, affine), (image[None].astype(np.float64), affine)):
        segmenter = Segmenter(make_model())
        segmenter.set_image(*given)
        segmenter.add_click(LIVER, "liver")
        predictions.append(segmenter.prediction)
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])
    np.testing.assert_allclose(nib.load(segmenter.save(tmp_path / "array")).affine, affine, atol=1e-5)
    with pytest.raises(ValueError, match="must be"):
        segmenter.set_image(image[0, 0])
    with pytest.raises(ValueError, match="An affine belongs to an array"):
        segmenter.set_image(file, affine)


def test_pictures(tmp_path):
    from PIL import Image

    grey = np.full((20, 30), 20, np.uint8)
    grey[4:12, 10:26] = 120
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "photo.png")
    model = make_model(axcodes="")
    model.preprocessing.transforms[-3].scaler.a_max = 255
    segmenter = Segmenter(model)
    segmenter.set_image(tmp_path / "photo.png")
    segmenter.add_click((8, 20, 0), "liver")  # row, column
    assert dice(segmenter.mask("liver")[..., 0], grey == 120) > 0.8
    written = segmenter.save(tmp_path / "out")
    assert written.name == "photo.png" and set(np.unique(np.asarray(Image.open(written)))) == {0, 3}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_med_sa_answers_everything_that_can_be_asked(device):
    torch.manual_seed(0)
    network = MedSA(num_classes=2, image_size=64, backbone="vit_tiny", rank=2, stack_depth=2)
    network = network.to(device).eval()
    model = make_model(network, device=torch.device(device))
    segmenter = Segmenter(model, background="everything", corrections="ask")
    image, label = draw_blocks()
    segmenter.set_image(image)
    segmenter.add_mask(label)
    segmenter.add_click(LIVER, "liver")
    segmenter.add_click((12, 9, 3), "liver", positive=False)
    segmenter.add_box((24, 33, 14, 27, 2, 4), "spleen")
    segmenter.propagate(most_change=100.0, least_overlap=0.0, least_area=0.0)
    assert segmenter.prediction.shape == image.shape
    data = segmenter._session.asked[(3, 1)]
    assert data.logits.shape == (16, 16) and data.clicks.labels.tolist() == [1, 0]
    for _ in range(5):
        segmenter.undo()
    assert not segmenter._session.asked


def test_faults_are_told(opened):
    with pytest.raises(
        ValueError, match=r"voxel \(40, 8, 3\), lies outside the image.*0, 0, 0.* to .*39, 31, 5"
    ):
        opened.add_click((40, 8, 3), "liver")
    with pytest.raises(ValueError, match="no label 'livre'.*Did you mean 'liver'"):
        opened.add_click(LIVER, "livre")
    with pytest.raises(ValueError, match="no label 5; it has liver"):
        opened.add_click(LIVER, 5)
    with pytest.raises(ValueError, match="several labels, say which"):
        opened.add_click(LIVER)
    with pytest.raises(ValueError, match="six numbers"):
        opened.add_box((1, 2, 3), "liver")
    with pytest.raises(ValueError, match="nothing was asked"):
        opened.propagate("liver")
    assert not opened.prediction.any()
    with pytest.raises(RuntimeError, match="call set_image first"):
        Segmenter(make_model()).add_click(LIVER, "liver")


def test_preprocessing_that_resamples_is_refused():
    from dataclasses import replace

    from monai.transforms import Spacingd

    model = make_model()
    steps = list(model.preprocessing.transforms)
    steps.insert(2, Spacingd("image", pixdim=(2, 2, 2)))
    segmenter = Segmenter(replace(model, preprocessing=Compose(steps)))
    with pytest.raises(ValueError, match="this one resamples"):
        segmenter.set_image(draw_blocks()[0])


def test_starting_over_forgets_prompts_and_steps_but_not_the_image():
    segmenter = Segmenter(make_model(AnsweringNetwork(pool=1)), background="everything")
    segmenter.set_image(draw_blocks()[0])
    before = segmenter.prediction
    segmenter.add_click((10, 8, 2), "spleen")
    assert segmenter.asked and not np.array_equal(segmenter.prediction, before)
    encoded = len(segmenter.model.network.embedded)
    segmenter.start_over()
    assert not segmenter.asked and np.array_equal(segmenter.prediction, before)
    assert len(segmenter.model.network.embedded) == encoded
    with pytest.raises(RuntimeError, match="nothing is left to undo"):
        segmenter.undo()


def test_starting_over_from_a_label_map(opened):
    """It is shown as it is, clicks on other slices leave it, and without one the background is back."""
    label = draw_blocks()[1]
    given = np.where(label == 7, 7, 0)
    opened.start_over(given)
    np.testing.assert_array_equal(opened.prediction, given)
    opened.add_click(LIVER, "liver")
    assert opened.mask("liver")[LIVER] and (opened.prediction == 7).any()
    opened.undo()
    np.testing.assert_array_equal(opened.prediction, given)
    opened.start_over(np.zeros_like(given))
    assert not opened.prediction.any()
    opened.start_over(given)
    opened.start_over()
    assert not opened.prediction.any()
    with pytest.raises(ValueError, match=r"start_over: the label map has shape \(2, 2, 2\)"):
        opened.start_over(np.zeros((2, 2, 2)))
