"""Prompts as tensors, on hand-sized lists."""

import pytest
import torch

from pgsam_monai.prompts.points import ABSENT, asked, empty_prompts, join_points, point_list, stack_points

CLICK = point_list([(3, 5)], [1])
BOX = point_list([(1, 2), (6.5, 7)], [2, 3])


def test_ragged_lists_are_filled_up():
    prompts = stack_points([[CLICK, BOX], [point_list(), CLICK]])
    assert prompts.labels.tolist() == [[[1, ABSENT], [2, 3]], [[ABSENT, ABSENT], [1, ABSENT]]]
    assert prompts.points[0].tolist() == [[[3, 5], [0, 0]], [[1, 2], [6.5, 7]]]
    assert prompts.points.dtype == torch.float32 and prompts.labels.dtype == torch.int64
    assert asked(prompts).tolist() == [[True, True], [False, True]]


def test_nothing_is_asked_of_empty_prompts():
    prompts = empty_prompts(2, 3)
    assert prompts.points.shape == (2, 3, 0, 2) and not asked(prompts).any()
    assert stack_points([[point_list()] * 3] * 2).labels.shape == (2, 3, 0)


def test_a_mask_alone_is_a_question():
    prompts = empty_prompts(1, 2)._replace(
        masks=torch.zeros(1, 2, 8, 8), has_mask=torch.tensor([[False, True]])
    )
    assert asked(prompts).tolist() == [[False, True]]


def test_more_points_join_their_own_image_and_class():
    some = stack_points([[CLICK, BOX], [point_list(), CLICK]])
    prompts = join_points(some, stack_points([[point_list(), point_list()], [point_list(), BOX]]))
    assert prompts.labels.tolist()[1] == [[ABSENT] * 4, [1, ABSENT, 2, 3]]
    assert prompts.points[1, 1].tolist() == [[3, 5], [0, 0], [1, 2], [6.5, 7]]
    assert prompts.labels.tolist()[0] == [[1] + [ABSENT] * 3, [2, 3, ABSENT, ABSENT]]


def test_joining_keeps_masks():
    prompts = empty_prompts(1, 1)._replace(masks=torch.ones(1, 1, 4, 4), has_mask=torch.tensor([[True]]))
    joined = join_points(prompts, stack_points([[CLICK]]))
    assert joined.labels.tolist() == [[[1]]] and joined.masks is prompts.masks


def test_refusals():
    with pytest.raises(ValueError, match="2 points need as many labels, got 1"):
        point_list([(1, 2), (3, 4)], [1])
    with pytest.raises(ValueError, match=r"labels must be 1 \(positive\)"):
        point_list([(1, 2)], [-1])
    with pytest.raises(ValueError, match=r"one list per class, got \[1, 2\] lists"):
        stack_points([[CLICK], [CLICK, CLICK]])
