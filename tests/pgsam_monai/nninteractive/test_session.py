"""What the protocol's prompts become: the same figures as a Segmenter's in Python."""

import numpy as np
import pytest
from answering_network import LABELS, draw_blocks, make_model

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.nninteractive.answering import Answering
from pgsam_monai.nninteractive.session import PointingSession

IMAGE, LABEL = (array.transpose() for array in draw_blocks())  # (z, y, x)
LIVER, SPLEEN = (3, 8, 10), (4, 20, 28)


def answering(model=None, **options) -> Answering:
    model = model or make_model(names=["object"], values=[0, 1])
    return Answering(model=model, corrector=model, label=model.names[0], **options)


@pytest.fixture
def session():
    return PointingSession(answering(), IMAGE)


def in_python(*steps):
    """(z, y, x) of what a Segmenter shows after `steps`, each the name of a method and its arguments."""
    found = answering()
    segmenter = Segmenter(found.model)
    segmenter.set_image(IMAGE.transpose(), found.affine)
    for name, *arguments in steps:
        options = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
        getattr(segmenter, name)(*arguments, **options)
    return segmenter.mask().transpose()


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def drawn(*voxels, shape=IMAGE.shape):
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_points_are_clicks(session):
    first = session.add_point(LIVER, True)
    np.testing.assert_array_equal(first, in_python(("add_click", LIVER[::-1])))
    assert dice(first, LABEL == 3) > 0.8 and first.shape == IMAGE.shape
    second = session.add_point((3, 6, 6), False)
    both = ("add_click", LIVER[::-1]), ("add_click", (6, 6, 3), {"positive": False})
    np.testing.assert_array_equal(second, in_python(*both))
    assert not second[3, 6, 6]


def test_a_box_is_carried_on(session):
    found = session.add_box((3, 2, 2), (3, 15, 22), True)
    box = ("add_box", (2, 22, 2, 15, 3, 3))
    np.testing.assert_array_equal(found, in_python(box, ("propagate",)))
    alone = PointingSession(answering(propagate=False), IMAGE).add_box((3, 15, 22), (3, 2, 2), True)
    np.testing.assert_array_equal(alone, in_python(box))
    assert alone[3].any() and not alone[2].any() and found[2].any()


def test_a_box_may_reach_beyond_the_image(session):
    """The extension doubles the second corner, wherever that lies."""
    np.testing.assert_array_equal(
        session.add_box((3, -20, -5), (3, 15, 22), True),
        in_python(("add_box", (-5, 22, -20, 15, 3, 3)), ("propagate",)),
    )


def test_a_scribble_finds_what_it_lies_on(session):
    stroke = drawn((3, slice(7, 10), slice(6, 18)))
    found = session.add_scribble(stroke, True)
    assert dice(found, LABEL == 3) > 0.8
    np.testing.assert_array_equal(found, in_python(("add_scribble", np.argwhere(stroke.transpose()))))
    gone = session.add_scribble(stroke, False)
    assert (gone & stroke).sum() < (found & stroke).sum()


def test_a_scribble_across_the_slices_counts(session):
    assert dice(session.add_scribble(drawn((slice(1, 5), slice(7, 10), 10)), True), LABEL == 3) > 0.8


def test_a_lasso_is_a_mask(session):
    region = drawn((3, slice(4, 14), slice(4, 20)))
    found = session.add_lasso(region, True)
    np.testing.assert_array_equal(found, in_python(("add_mask", region.transpose()), ("propagate",)))
    assert dice(found[3], LABEL[3] == 3) > 0.8 and found[2].any()


def test_a_lasso_is_a_box_to_networks_without_masks():
    model = make_model(names=["object"], values=[0, 1], trained_with_masks=False)
    found = PointingSession(answering(model), IMAGE).add_lasso(drawn((3, slice(3, 15), slice(3, 21))), True)
    assert dice(found[3], LABEL[3] == 3) > 0.8


def test_other_lassos_are_clicks(session):
    across = session.add_lasso(drawn((slice(1, 5), slice(5, 12), 10)), True)
    assert dice(across, LABEL == 3) > 0.8
    fewer = session.add_lasso(drawn((3, slice(4, 14), slice(4, 20))), False)
    assert fewer.sum() < across.sum()


def test_a_segment_is_what_clicks_correct(session):
    session.add_point(LIVER, True)
    session.show(LABEL == 7)
    found = session.add_point(SPLEEN, True)
    np.testing.assert_array_equal(found, LABEL == 7)  # it was shown already
    found = session.add_point(LIVER, True)
    assert (
        dice(found, (LABEL == 7) | (LABEL == 3)) > 0.8 and (found & (LABEL == 7)).sum() == (LABEL == 7).sum()
    )


def test_an_empty_segment_resets(session):
    fresh = session.add_point(SPLEEN, True)
    session.add_point(LIVER, True)
    session.show(np.zeros(IMAGE.shape, bool))
    np.testing.assert_array_equal(session.add_point(SPLEEN, True), fresh)


def test_of_a_bundles_classes_one_is_pointed_at():
    model = make_model(names=list(LABELS), values=[0, *LABELS.values()])
    session = PointingSession(Answering(model=model, corrector=model, label="spleen"), IMAGE)
    assert dice(session.add_point(SPLEEN, True), LABEL == 7) > 0.8
    session.show(LABEL == 7)
    np.testing.assert_array_equal(session.add_point(SPLEEN, True), LABEL == 7)


def test_what_can_not_be_is_told_in_a_sentence(session):
    for ask, words in (
        (
            lambda: session.add_point((6, 0, 0), True),
            r"point \(z, y, x\) = \(6, 0, 0\) lies outside .* \(6, 32, 40\)",
        ),
        (lambda: session.add_point((0, -1, 0), False), "lies outside"),
        (lambda: session.add_box((3, 2, 2), (3, 5, 5), False), "use points, scribbles or lassos"),
        (lambda: session.add_box((9, 2, 2), (9, 5, 5), True), "lies outside"),
        (
            lambda: session.add_box((1, 2, 2), (5, 5, 2), True),
            "a line on the network's slices, which are axial",
        ),
        (lambda: session.add_lasso(drawn(), True), "Nothing was drawn"),
        (lambda: session.add_scribble(drawn(), False), "Nothing was drawn"),
    ):
        with pytest.raises(UserFault, match=words):
            ask()
