"""What a click does to logits, in hand-sized numbers."""

import torch

from pgsam_monai.interactive.corrections import MARGIN, pull
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE, point_list
from pgsam_monai.voxels.frame import slice_frame

FRAME = slice_frame(32, 32, 32, "stretch")


def test_a_click_is_obeyed_and_far_away_nothing_moves():
    logits = torch.full((32, 32), -3.0)
    moved = pull(logits, point_list([(20, 8)], [POSITIVE]), FRAME)
    assert moved[8, 20] == MARGIN
    # sigma is two pixels: at a distance of 2, -3 + 4 exp(-1/2)
    torch.testing.assert_close(moved[8, 22], torch.tensor(-3 + 4 * 0.6065307), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[:, :8], logits[:, :8], atol=1e-5, rtol=0)
    assert (logits == -3.0).all()


def test_what_was_unsure_follows_farther_than_what_was_sure():
    unsure, sure = torch.full((32, 32), -0.5), torch.full((32, 32), -8.0)
    click = point_list([(16, 16)], [POSITIVE])
    counts = [int((pull(logits, click, FRAME) > 0).sum()) for logits in (unsure, sure)]
    assert counts[0] > 2 * counts[1] > 0


def test_an_obeyed_click_moves_nothing_and_large_structures_move_farther():
    disc = ((torch.arange(32)[:, None] - 15.5) ** 2 + (torch.arange(32) - 15.5) ** 2 < 14**2).float() * 10 - 5
    inside = pull(disc, point_list([(16, 16)], [POSITIVE]), FRAME)
    torch.testing.assert_close(inside, disc)
    taken = pull(disc, point_list([(16, 16)], [NEGATIVE]), FRAME)
    # the disc's radius is 14 pixels, sigma 3.5; 5 - 6 exp(-d^2 / 24.5) is below 0 up to d = 2.1
    assert int((taken < 0).sum()) - int((disc < 0).sum()) == 13  # pixels with d^2 <= 4
    assert taken[16, 16] == -MARGIN


def test_reach_counts_pixels_of_the_slice():
    """The slice is a quarter as fine as the square: two of its pixels are eight of the square's."""
    frame = slice_frame(8, 8, 32, "stretch")
    moved = pull(torch.full((32, 32), -3.0), point_list([(16, 16)], [POSITIVE]), frame)
    torch.testing.assert_close(moved[16, 24], torch.tensor(-3 + 4 * 0.6065307), atol=1e-5, rtol=0)


def test_clicks_outside_the_square_do_nothing():
    logits = torch.zeros(32, 32)
    torch.testing.assert_close(pull(logits, point_list([(-3, 5), (5, 40)], [POSITIVE] * 2), FRAME), logits)
