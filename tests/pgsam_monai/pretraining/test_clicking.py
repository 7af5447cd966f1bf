"""The quick user clicks into the middle of the largest error."""

from __future__ import annotations

import torch

from pgsam_monai.pretraining.clicking import next_clicks
from pgsam_monai.prompts.points import ABSENT, NEGATIVE, POSITIVE


def square(top: int, left: int, side: int) -> torch.Tensor:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_largest_error_is_clicked_near_its_middle_with_its_sign():
    targets = torch.stack([square(8, 40, 16), square(8, 40, 16), square(8, 8, 8)])
    found = torch.stack([square(40, 8, 6), square(8, 40, 16) | square(30, 4, 20), square(8, 8, 8)])
    points, kinds = next_clicks(found.float() - 0.5, targets, chance=0.0)
    assert kinds[:, 0].tolist() == [POSITIVE, NEGATIVE, ABSENT]
    (x, y), (u, v) = points[0, 0].tolist(), points[1, 0].tolist()
    assert abs(x - 47.5) <= 4 and abs(y - 15.5) <= 4
    assert abs(u - 13.5) <= 4 and abs(v - 39.5) <= 4


def test_chance_moves_clicks_but_never_off_the_error():
    torch.manual_seed(0)
    targets = square(8, 8, 12).expand(50, -1, -1)
    points, kinds = next_clicks(torch.full((50, 64, 64), -1.0), targets, chance=0.1)
    assert (kinds == POSITIVE).all() and len({tuple(each) for each in points[:, 0].tolist()}) > 5
    assert ((points >= 8) & (points < 20)).all()


def test_a_thin_error_is_clicked_on_it():
    line = torch.zeros(1, 64, 64, dtype=torch.bool)
    line[0, 33, 5:60] = True
    points, _ = next_clicks(torch.full((1, 64, 64), -1.0), line, chance=0.0)
    assert points[0, 0, 1] == 33
