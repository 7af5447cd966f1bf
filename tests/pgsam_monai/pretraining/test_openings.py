"""How a user begins, and what is drawn of it."""

from __future__ import annotations

import numpy as np
import pytest

from pgsam_monai.pretraining.openings import SHARES, open_with, rough_mask
from pgsam_monai.prompts.points import ABSENT, BOX_FIRST, BOX_LAST, NEGATIVE, POSITIVE


@pytest.fixture
def target() -> np.ndarray:
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:30, 20:36] = True
    return mask


def clicks(opening, kind) -> list[tuple[int, int]]:
    return [(int(y), int(x)) for x, y in opening.points[opening.labels == kind]]


@pytest.mark.parametrize("kind", SHARES)
def test_what_is_said_is_true(kind, target):
    for seed in range(25):
        opening = open_with(np.random.default_rng(seed), target, kind)
        assert all(target[place] for place in clicks(opening, POSITIVE))
        assert not any(target[place] for place in clicks(opening, NEGATIVE))
        assert opening.has_mask == (kind == "mask")


def test_a_click_is_one_point(target):
    opening = open_with(np.random.default_rng(0), target, "click")
    assert (opening.labels == POSITIVE).sum() == 1 and (opening.labels == ABSENT).sum() == 5


def test_several_clicks_come_in_any_order_with_negative_ones_among_them(target):
    openings = [open_with(np.random.default_rng(seed), target, "clicks") for seed in range(40)]
    counts = {int((opening.labels != ABSENT).sum()) for opening in openings}
    assert min(counts) >= 2 and max(counts) >= 5
    assert any(opening.labels[0] == NEGATIVE for opening in openings)


def test_boxes_are_tight_in_half_of_the_cases_and_loose_when_asked(target):
    exact = [(20, 10), (35, 29)]
    boxes = [open_with(np.random.default_rng(seed), target, "box") for seed in range(30)]
    corners = [opening.points[-2:].astype(int).tolist() for opening in boxes]
    assert 5 < sum(corner == [list(place) for place in exact] for corner in corners) < 25
    for opening in boxes:
        assert opening.labels[-2:].tolist() == [BOX_FIRST, BOX_LAST]
    loose = open_with(np.random.default_rng(1), target, "loose box")
    assert loose.points[-2:].tolist() != [list(place) for place in exact]


def test_rough_masks_are_wrong_in_many_ways_and_right_in_their_place(target):
    share = target.reshape(16, 4, 16, 4).mean(axis=(1, 3)) > 0.5
    overlaps = []
    for seed in range(40):
        mask = rough_mask(np.random.default_rng(seed), target)
        assert mask.shape == (16, 16) and mask.dtype == np.float32 and abs(mask).max() <= 10
        found = mask > 0
        overlaps.append(2 * (found & share).sum() / max(1, found.sum() + share.sum()))
    assert min(overlaps) < 0.6 and 0.5 < np.mean(overlaps) < 0.95


def test_a_correction_goes_where_the_mask_is_wrong(target):
    for seed in range(20):
        opening = open_with(np.random.default_rng(seed), target, "mask")
        found = np.kron(opening.mask, np.ones((4, 4))) > 0
        if (found != target).any():
            ((x, y),) = opening.points[opening.labels != ABSENT].astype(int).tolist()
            assert found[y, x] != target[y, x]
