"""How far a click reaches, and what it does to a label map, in hand-sized numbers."""

from __future__ import annotations

import numpy as np
import pytest
from answering_network import AnsweringNetwork, make_model

from pgsam_monai.interactive.answers import SliceEmbeddings
from pgsam_monai.interactive.corrections import Change, Corrector, innermost, mask_logits, part_at
from pgsam_monai.interactive.reach import SPREAD, Click, reach_of
from pgsam_monai.interactive.volume import read_volume, seen_by
from pgsam_monai.voxels.frame import slice_frame

LIVER, SPLEEN = 1, 2
SPACING = np.array([1.0, 2.0, 5.0])


def block(shape=(20, 20, 6)):
    """Class indices (H, W, D): the liver in rows and columns 4 to 9 of slices 1 to 4."""
    shown = np.zeros(shape, np.uint8)
    shown[4:10, 4:10, 1:5] = LIVER
    return shown


@pytest.mark.parametrize(
    ("click", "mm"),
    [
        (Click(2, 15, 5, LIVER, True), 6.0),  # rows 9 to 15
        (Click(2, 5, 11, LIVER, True), 4.0),  # columns 9 to 11, of 2 mm
        (
            Click(2, 5, 15, LIVER, True),
            7.005,
        ),  # 12 mm away; but the liver, 1440 mm3, is a ball of this radius
        (Click(0, 6, 6, LIVER, True), 5.0),  # the slice below it
        (Click(2, 5, 6, LIVER, False), 2.0),  # row 5 to row 3, the first outside
        (Click(2, 15, 5, SPLEEN, True), np.inf),  # none is shown: however near the liver is
        (Click(2, 6, 6, SPLEEN, True), 3.0),  # in the liver: out of it, row 6 to row 3
    ],
)
def test_the_contour_that_a_click_moves(click, mm):
    assert reach_of(block(), click, SPACING) == pytest.approx(mm, abs=1e-3)


def test_what_is_shown_on_one_slice_is_as_large_as_its_disc():
    """Of one thick slice: 100 pixels of 2 mm2 are a disc of 7.98 mm, and only a ball of 6.2."""
    shown = np.zeros((40, 40, 1), np.uint8)
    shown[:10, :10] = LIVER
    assert reach_of(shown, Click(0, 30, 30, LIVER, True), SPACING) == pytest.approx(7.979, abs=1e-3)


def test_a_change_adds_a_class_or_takes_that_class_alone_away():
    indices = np.array([[0, 1, 2], [2, 1, 0]])
    region = np.array([[True, True, False], [True, True, True]])
    added, taken = indices.copy(), indices.copy()
    click = Click(0, 0, 0, LIVER, True)
    Change(0, LIVER, True, region, click).draw(added)
    Change(0, LIVER, False, region, click).draw(taken)
    assert added.tolist() == [[1, 1, 2], [1, 1, 1]] and taken.tolist() == [[0, 0, 2], [2, 0, 0]]


def test_connected_parts_and_the_middle_of_one():
    mask = np.zeros((7, 9), bool)
    mask[1:6, 1:6] = mask[3, 7] = True
    part = part_at(mask, (2, 2))
    assert part.sum() == 25 and not part[3, 7] and innermost(part) == (3, 3)
    assert not part_at(mask, (0, 0)).any()


def test_a_mask_as_logits():
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    logits = mask_logits(mask, slice_frame(8, 8, 32, "stretch"), (8, 8))
    assert tuple(logits.shape) == (8, 8) and logits[0, 0] > 9.9 and logits[7, 7] < -9.9


def corrector_of(image):
    model = make_model(AnsweringNetwork(pool=1), axcodes=None)
    return Corrector(SliceEmbeddings(model, read_volume(model, image)))


def correct(corrector, shown, click, *before):
    return corrector.correct(shown, click, [*before, click])


def bright(shown, level=375):
    """An image whose grey values tell what is really there: `level` of 0..1000 inside."""
    return np.where(shown > 0, level, 0).astype(np.float32)


def test_one_click_finds_a_missed_block_on_all_its_slices():
    there = block()
    changes = correct(corrector_of(bright(there)), np.zeros_like(there), Click(2, 6, 6, LIVER, True))
    found = np.zeros_like(there)
    for change in changes:
        change.draw(found[..., change.slice])
    assert sorted(change.slice for change in changes) == [1, 2, 3, 4]
    np.testing.assert_array_equal(found, there)


def test_nothing_changes_farther_than_a_click_reaches():
    """The network takes the whole bright block for the liver; clicked next to what is shown, little of it counts."""
    there, shown = block(), block()
    shown[7:] = 0  # rows 7 to 9 are missed
    click = Click(2, 8, 5, LIVER, True)
    for change in correct(corrector_of(bright(there)), shown, click):
        rows, columns = np.nonzero(change.region)
        assert change.region[8, 5] and (rows >= 7).all()
        assert ((rows - 8) ** 2 + (columns - 5) ** 2 <= (SPREAD * 2) ** 2).all()
    assert reach_of(shown, click, np.ones(3)) == 2


def test_of_what_is_missed_far_away_only_what_is_alike_is_sure():
    """The network says nothing; the click lies in a block of 3 x 3 pixels, 10 rows from what is shown."""
    shown, grey = np.zeros((20, 20, 1), np.uint8), np.zeros((20, 20, 1), np.float32)
    shown[0:2], grey[0:2], grey[10:13, 8:11] = LIVER, 800, 375
    corrector = corrector_of(grey)
    corrector.ask = lambda index, clicks, mask: np.full(mask.shape, -1.0)
    (change,) = correct(corrector, shown, Click(0, 11, 9, LIVER, True))
    assert change.region.sum() == 9 and change.region[10:13, 8:11].all()


def test_a_click_that_says_what_is_shown_changes_nothing():
    corrector, shown = corrector_of(bright(block())), block()
    assert correct(corrector, shown, Click(2, 6, 6, LIVER, True)) == []
    assert correct(corrector, shown, Click(2, 0, 0, LIVER, False)) == []
    assert corrector.embeddings.encoded == 0


def test_another_class_gives_nothing_to_a_click_beside_it():
    there = block()
    shown = np.zeros_like(there)
    shown[4:10, 4:7] = SPLEEN  # half of the bright block
    (first, *_) = correct(corrector_of(bright(there)), shown, Click(2, 6, 8, LIVER, True))
    assert first.region.sum() == 18 and not first.region[:, :7].any()


def test_an_island_goes_as_a_whole_unless_someone_said_that_it_is_right():
    shown = block()
    corrector = corrector_of(np.zeros(shown.shape, np.float32))
    click = Click(2, 6, 6, LIVER, False)
    changes = correct(corrector, shown, click)
    assert {change.slice: int(change.region.sum()) for change in changes} == dict.fromkeys((1, 2, 3, 4), 36)
    assert corrector.embeddings.encoded == 0
    (first, *_) = correct(corrector, shown, click, Click(2, 9, 9, LIVER, True))
    assert first.slice == 2 and not first.region[9, 9] and first.region[6, 6]


def test_what_hangs_together_with_much_more_is_no_island():
    """A bulge of the liver: what lies near the click goes, the liver stays."""
    shown = np.zeros((40, 40, 3), np.uint8)
    shown[5:35, 5:25] = shown[18:22, 25:29] = LIVER
    for change in correct(
        corrector_of(np.zeros(shown.shape, np.float32)), shown, Click(1, 20, 27, LIVER, False)
    ):
        assert change.region[20, 27] and not change.region[:, :22].any()


def test_what_a_negative_click_means_on_the_slices_beside_it():
    """It lies 3 mm deep in what was brought, so it counts 6 mm around it, a slice of 5 mm up and down."""
    shown = block((20, 20, 7))
    click, source = Click(2, 6, 6, LIVER, False), Click(2, 5, 5, LIVER, True)
    brought = [Change(at, LIVER, True, shown[..., at] == LIVER, source) for at in range(1, 5)]
    corrector = corrector_of(bright(shown))
    corrector.spacing = SPACING
    assert reach_of(shown, click, SPACING) == 3
    assert [each.slice for each in corrector.warnings(shown, click, brought)] == [3, 1]
    assert corrector.warnings(shown, click, brought[1:2]) == []


def test_several_channels_are_averaged():
    there = block()
    image = np.stack([2 * bright(there), np.zeros(there.shape, np.float32)])
    model = make_model(AnsweringNetwork(pool=1), axcodes=None)
    corrector = Corrector(SliceEmbeddings(model, seen_by(model, read_volume(model, image))))
    assert corrector.volume.image.shape == (1, *there.shape)
    assert len(correct(corrector, np.zeros_like(there), Click(2, 6, 6, LIVER, True))) == 4
