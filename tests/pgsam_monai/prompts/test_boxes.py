"""Boxes: what their overlap is, and that it is met."""

import numpy as np
import pytest

from pgsam_monai.prompts.boxes import Box, PixelBox, box_iou, box_with_iou, corners, jittered_box, tight_box

SHAPE = (60, 90)
TIGHT = PixelBox(20, 30, 39, 49)  # 20 x 20 pixels


def test_tight_box_includes_both_ends():
    mask = np.zeros((5, 7), dtype=bool)
    assert tight_box(mask) is None
    mask[1, 4] = mask[3, 2] = True
    assert tight_box(mask) == (1, 2, 3, 4)
    assert corners(tight_box(mask)) == Box(2, 1, 4, 3)


def test_iou_counts_whole_pixels():
    pixel = Box(2, 2, 2, 2)
    assert box_iou(pixel, pixel) == 1
    assert box_iou(pixel, Box(3, 2, 3, 2)) == 0
    assert box_iou(pixel, Box(2, 2, 3, 3)) == 1 / 4
    assert box_iou(Box(0, 0, 3, 0), Box(2, 0, 5, 0)) == 2 / 6
    assert box_iou(Box(0, 0, 0, 0), Box(0.5, 0, 0.5, 0)) == pytest.approx(0.5 / 1.5)


@pytest.mark.parametrize("iou", [0.2, 0.5, 0.75, 0.99, 1.0])
def test_stated_iou_is_met_inside_the_image(iou):
    rng = np.random.default_rng(0)
    boxes = [box_with_iou(TIGHT, iou, rng=rng, shape=SHAPE) for _ in range(50)]
    for box in boxes:
        assert box_iou(box, corners(TIGHT)) == pytest.approx(iou, abs=1e-5)
        assert 0 <= box.x0 <= box.x1 <= 89 and 0 <= box.y0 <= box.y1 <= 59
    assert len(set(boxes)) == (1 if iou == 1 else 50)


def test_boxes_of_one_iou_shift_grow_and_shrink():
    rng = np.random.default_rng(1)
    boxes = np.array([box_with_iou(TIGHT, 0.5, rng=rng, shape=SHAPE) for _ in range(200)])
    outwards = np.sign(boxes - corners(TIGHT)) * [-1, -1, 1, 1]
    assert (np.abs(outwards.mean(axis=0)) < 0.2).all()
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    assert areas.min() < 300 and areas.max() > 500


@pytest.mark.parametrize(
    "tight",
    [
        PixelBox(0, 0, 59, 89),  # no room outside
        PixelBox(0, 0, 0, 0),  # a corner pixel can't shrink
        PixelBox(59, 0, 59, 89),  # the last row
        PixelBox(0, 40, 59, 40),  # one column
        PixelBox(0, 1, 59, 88),
    ],
)
def test_the_images_border_moves_the_other_sides(tight):
    rng = np.random.default_rng(2)
    for iou in (0.5, 0.75):
        for _ in range(20):
            box = box_with_iou(tight, iou, rng=rng, shape=SHAPE)
            assert box_iou(box, corners(tight)) == pytest.approx(iou, abs=1e-5)
            assert 0 <= box.x0 <= box.x1 <= 89 and 0 <= box.y0 <= box.y1 <= 59


def test_masks_serve_as_targets_and_generators_repeat():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[20:40, 30:50] = True
    boxes = [box_with_iou(target, 0.6, rng=np.random.default_rng(3), shape=SHAPE) for target in (mask, TIGHT)]
    assert boxes[0] == boxes[1]


def test_refusals():
    rng = np.random.default_rng(0)
    for iou in (0, 1.1, -0.5, float("nan")):
        with pytest.raises(ValueError, match="iou must be above 0 and at most 1"):
            box_with_iou(TIGHT, iou, rng=rng, shape=SHAPE)
    with pytest.raises(ValueError, match="the mask is empty"):
        box_with_iou(np.zeros((4, 4), dtype=bool), 0.5, rng=rng, shape=(4, 4))
    with pytest.raises(ValueError, match=r"no box in an image of \(1, 1\) pixels has IoU 0.5"):
        box_with_iou(PixelBox(0, 0, 0, 0), 0.5, rng=rng, shape=(1, 1))


def test_jitter_follows_the_side_and_its_limit():
    rng = np.random.default_rng(4)
    boxes = np.array([jittered_box(TIGHT, rng=rng, shape=SHAPE) for _ in range(2000)])
    moves = boxes - corners(TIGHT)
    np.testing.assert_allclose(moves.std(axis=0), 2, rtol=0.1)  # 10 % of 20 pixels
    np.testing.assert_allclose(moves.mean(axis=0), 0, atol=0.2)
    wide = PixelBox(300, 300, 699, 699)
    moves = np.array([jittered_box(wide, rng=rng, shape=(1000, 1000)) for _ in range(200)]) - corners(wide)
    assert np.abs(moves).max() == 20


def test_jitter_stays_in_order_and_in_the_image():
    rng = np.random.default_rng(5)
    for tight in (PixelBox(0, 0, 59, 89), PixelBox(5, 5, 5, 5), PixelBox(59, 89, 59, 89)):
        for _ in range(100):
            box = jittered_box(tight, rng=rng, shape=SHAPE, share=1)
            assert 0 <= box.x0 <= box.x1 <= 89 and 0 <= box.y0 <= box.y1 <= 59
