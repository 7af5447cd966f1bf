"""Simulated users on masks small enough to check by eye."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pgsam_monai.prompts.boxes import Box, box_iou, corners, tight_box
from pgsam_monai.prompts.clicks import (
    PROTOCOLS,
    Click,
    add_clicks,
    first_click,
    make_training_prompts,
    next_click,
    protocol_prompts,
    wrong_click,
)
from pgsam_monai.prompts.points import (
    ABSENT,
    PointList,
    Prompts,
    asked,
    empty_prompts,
    point_list,
    stack_points,
)


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def disc(shape=(64, 64), centre=(30, 34), radius=12.0) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def points_of(prompts: Prompts, b: int, k: int) -> PointList:
    """Those of image b and class k, without the filling."""
    present = prompts.labels[b, k - 1] != ABSENT
    return PointList(prompts.points[b, k - 1][present].numpy(), prompts.labels[b, k - 1][present].numpy())


NOTHING = np.zeros((5, 7), dtype=bool)


def test_first_click_is_uniform_in_the_object():
    mask = mask_of(".##", "..#", "...")
    rng = np.random.default_rng(0)
    clicks = [first_click(mask, rng) for _ in range(600)]
    assert set(clicks) == {(0, 1), (0, 2), (1, 2)}
    assert min(clicks.count(place) for place in set(clicks)) > 160
    assert first_click(np.zeros((3, 3), dtype=bool), rng) is None


def test_next_click_goes_to_the_middle_of_the_largest_error():
    target = mask_of(
        ".......",
        ".###.#.",
        ".###...",
        ".###...",
        ".......",
    )
    assert next_click(NOTHING, target) == Click(2, 2, True)
    assert next_click(target, NOTHING) == Click(2, 2, False)
    assert next_click(target, target) is None
    too_much = mask_of("#####..", ".###...", ".###...", ".###...", ".......")  # and (1, 5) missed
    assert next_click(too_much, target) == Click(0, 2, False)


def test_equal_errors_are_answered_by_a_positive_click():
    assert next_click(mask_of("##...."), mask_of("....##")) == Click(0, 4, True)


def test_corners_join_a_region_and_the_border_counts_as_outside():
    diagonal = mask_of("#..", ".#.", "..#")
    square = np.ones((5, 5), dtype=bool)
    assert next_click(np.zeros((3, 3), dtype=bool), diagonal) == Click(1, 1, True)
    assert next_click(~square, square) == Click(2, 2, True)


def test_a_click_that_was_ignored_isnt_repeated():
    target = np.ones((1, 9), dtype=bool)
    clicks = []
    for _ in range(3):
        click = next_click(~target, target, clicked=clicks)
        clicks.append((click.row, click.column))
    assert len(set(clicks)) == 3 and clicks[0] == (0, 4)
    pixel = mask_of("#..")
    assert next_click(NOTHING[:1, :3], pixel, clicked=[(0, 0)]) == Click(0, 0, True)
    assert next_click(NOTHING[:1, :3], pixel, clicked=[(0, 7)]) == Click(0, 0, True)


def test_training_clicks_stay_off_the_rim():
    target = mask_of(".......", ".#####.", ".#####.", ".#####.", ".......")
    rng = np.random.default_rng(1)
    clicks = {next_click(NOTHING, target, rng) for _ in range(100)}
    assert clicks == {Click(2, column, True) for column in (2, 3, 4)}
    thin = mask_of(".......", "..###..", *["......."] * 3)
    clicks = {next_click(thin, NOTHING, rng) for _ in range(100)}
    assert clicks == {Click(1, column, False) for column in (2, 3, 4)}


def test_innermost_equals_the_distance_transform_of_the_whole_image():
    rng = np.random.default_rng(2)
    for _ in range(20):
        target = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 3) > 0.02
        regions, count = ndimage.label(target, np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())[1:]
        largest = np.pad(regions == sizes.argmax() + 1, 1)
        distance = ndimage.distance_transform_edt(largest)[1:-1, 1:-1]
        click = next_click(np.zeros_like(target), target)
        assert distance[click.row, click.column] == distance.max() and click.positive


def test_slips_lie_beside_the_object():
    mask, rng = disc(), np.random.default_rng(3)
    distance = ndimage.distance_transform_edt(~mask)
    radius = (mask.sum() / np.pi) ** 0.5
    slips = [wrong_click(mask, rng) for _ in range(200)]
    distances = [distance[slip.row, slip.column] for slip in slips]
    assert min(distances) >= 2 and max(distances) <= radius and max(distances) > 0.8 * radius
    assert all(slip.positive for slip in slips)


def test_slips_where_there_is_little_room():
    rng = np.random.default_rng(4)
    assert wrong_click(np.zeros((4, 4), dtype=bool), rng) is None
    assert wrong_click(np.ones((4, 4), dtype=bool), rng) is None
    all_but_one = np.ones((4, 4), dtype=bool)
    all_but_one[0, 3] = False
    assert wrong_click(all_but_one, rng) == Click(0, 3, True)


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_protocols(kind):
    mask, rng = disc(), np.random.default_rng(5)
    given = protocol_prompts(mask, kind, rng)
    if "box" in kind:
        assert given.labels.tolist() == [2, 3]
        iou = {"box 0.5": 0.5, "box 0.75": 0.75, "box": 1.0}[kind]
        found = box_iou(Box(*given.points.ravel().tolist()), corners(tight_box(mask)))
        assert found == pytest.approx(iou, abs=1e-4)
    else:
        assert given.labels.tolist() == [1] * int(kind[0])
        columns, rows = given.points.astype(int).T
        assert mask[rows, columns].all() and len(set(zip(rows, columns, strict=True))) == len(rows)
    assert len(protocol_prompts(np.zeros_like(mask), kind, rng).labels) == 0


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_protocols_with_slips(wrong):
    mask = disc()
    given = protocol_prompts(mask, "3 points", np.random.default_rng(6), wrong=wrong)
    columns, rows = given.points.astype(int).T
    assert given.labels.tolist() == [1, 1, 1] and mask[rows, columns].sum() == 3 - wrong


def test_protocols_refuse():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="kind must be one of"):
        protocol_prompts(disc(), "2 points", rng)
    with pytest.raises(ValueError, match="'box' has 0 points, 1 of them can't be wrong"):
        protocol_prompts(disc(), "box", rng, wrong=1)


def two_images() -> torch.Tensor:
    """Classes 1 and 3 in the first image, none in the second."""
    label = np.zeros((2, 1, 64, 64), dtype=np.uint8)
    label[0, 0][disc()] = 1
    label[0, 0, 50:54, 2:9] = 3
    return torch.from_numpy(label)


def test_training_prompts_ask_present_classes_only():
    label = two_images()
    for seed in range(30):
        prompts = make_training_prompts(label, num_classes=3, rng=np.random.default_rng(seed))
        assert asked(prompts).tolist() == [[True, False, True], [False] * 3]
        for k in (1, 3):
            points, labels = points_of(prompts, 0, k)
            if labels[0] == 1:
                columns, rows = points.astype(int).T
                assert (label[0, 0].numpy()[rows, columns] == k).all() and set(labels.tolist()) == {1}
            else:
                exact = corners(tight_box(label[0, 0].numpy() == k))
                assert labels.tolist() == [2, 3] and box_iou(Box(*points.ravel().tolist()), exact) > 0.2


def test_training_prompts_draw_every_kind_and_number():
    label, rng = two_images(), np.random.default_rng(7)
    seen = set()
    for _ in range(60):
        prompts = make_training_prompts(label, num_classes=3, rng=rng)
        seen |= {tuple(points_of(prompts, 0, k).labels.tolist()) for k in (1, 3)}
    assert seen == {(1,), (1, 1), (1, 1, 1), (2, 3)}
    boxes = make_training_prompts(label, num_classes=3, rng=rng, kinds=("box",))
    assert boxes.labels.tolist() == [[[2, 3], [ABSENT] * 2, [2, 3]], [[ABSENT] * 2] * 3]


def test_training_prompts_repeat_and_limit_their_classes():
    label = torch.arange(16).reshape(1, 1, 4, 4)
    once, again = (
        make_training_prompts(label, num_classes=15, rng=np.random.default_rng(8), max_classes=4)
        for _ in range(2)
    )
    assert torch.equal(once.points, again.points) and torch.equal(once.labels, again.labels)
    assert asked(once).sum() == 4
    chosen = {
        tuple(asked(make_training_prompts(label, num_classes=15, rng=np.random.default_rng(n)))[0].tolist())
        for n in range(20)
    }
    assert len(chosen) > 15


def test_training_prompts_of_background_alone_are_empty():
    prompts = make_training_prompts(
        torch.zeros(2, 1, 8, 8, dtype=torch.int16), num_classes=2, rng=np.random.default_rng(0)
    )
    assert prompts.points.shape == (2, 2, 0, 2)


def test_training_prompts_refuse():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"kinds must be of \('point', 'points', 'box'\), got \('dot',\)"):
        make_training_prompts(two_images(), num_classes=3, rng=rng, kinds=("dot",))
    with pytest.raises(ValueError, match=r"label must be \(B, 1, H, W\), got \(2, 64, 64\)"):
        make_training_prompts(two_images()[:, 0], num_classes=3, rng=rng)


def test_one_more_click_per_asked_class():
    """Class 1 missed, class 3 found, and a false positive where class 2 was asked but is absent."""
    label = two_images()
    prompts = stack_points([[point_list([(34, 30)], [1])] * 3, [point_list()] * 3])
    logits = torch.full((2, 3, 64, 64), -1.0)
    logits[0, 1, 10:15, 40:45] = 1
    logits[0, 2, 50:54, 2:9] = 1
    logits[1] = 1  # nobody asked
    more = add_clicks(prompts, logits, label, None)
    assert more.labels[..., 1].tolist() == [[1, 0, ABSENT], [ABSENT] * 3]
    assert more.points[0, 1, 1].tolist() == [42, 12]
    column, row = more.points[0, 0, 1].int().tolist()
    assert disc()[row, column] and (column, row) != (34, 30)  # clicked there before
    assert torch.equal(more.labels[..., :1], prompts.labels)


def test_small_logits_are_enlarged_to_the_labels_grid():
    label = two_images()
    logits = torch.full((2, 3, 16, 16), -4.0)
    logits[0, 0, 2:4, 10:12] = 4  # pixels 8 to 15 and 40 to 47
    prompts = stack_points([[point_list([(1, 1)], [0]), *[point_list()] * 2], [point_list()] * 3])
    label[0, 0] = 0
    more = add_clicks(prompts, logits, label, None)
    assert more.labels[0, 0].tolist() == [0, 0]
    assert (more.points[0, 0, 1] - torch.tensor([43.5, 11.5])).abs().max() <= 0.5


def test_more_clicks_repeat_and_always_add_a_column():
    label = two_images()
    prompts = make_training_prompts(label, num_classes=3, rng=np.random.default_rng(9))
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    once, again = (add_clicks(prompts, logits, label, np.random.default_rng(10)) for _ in range(2))
    assert torch.equal(once.points, again.points)
    nobody = add_clicks(empty_prompts(2, 3), logits, label, None)
    assert nobody.labels.tolist() == [[[ABSENT]] * 3] * 2
    for absent in (empty_prompts(2, 3), prompts):
        perfect = torch.stack([(label[:, 0] == k).float() - 0.5 for k in (1, 2, 3)], dim=1)
        more = add_clicks(absent, perfect, label, None)
        assert more.labels.shape[2] == absent.labels.shape[2] + 1
        assert (more.labels[..., -1] == ABSENT).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_labels_on_a_gpu_give_prompts_there():
    label = two_images().cuda()
    prompts = make_training_prompts(label, num_classes=3, rng=np.random.default_rng(0))
    more = add_clicks(prompts, torch.zeros(2, 3, 16, 16, device="cuda"), label, None)
    assert prompts.points.is_cuda and more.labels.is_cuda
