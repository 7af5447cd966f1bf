import pytest
import torch

from pgsam_monai.networks.refsam3d.attention import WindowAttention
from pgsam_monai.networks.refsam3d.windows import (
    BLOCKED,
    choose_window,
    lay_out,
    merge,
    partition,
    region_channels,
    region_mask,
    regions,
)
from preprocess.networks.refsam3d.memory import window_sides


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    ("grid", "window"),
    [((4, 4, 4), (2, 2, 2)), ((5, 7, 3), (2, 4, 2)), ((3, 9, 1), (4, 4, 4)), ((1, 1, 1), (8, 8, 8))],
)
def test_back_and_forth_is_exact(grid, window, shifted):
    layout = lay_out(grid, window, shifted=shifted)
    tokens = torch.randn(2, *grid, 3)
    windows = partition(tokens, layout)
    assert windows.shape[1:] == (*(min(pair) for pair in zip(grid, window, strict=True)), 3)
    assert torch.equal(merge(windows, layout), tokens)


def test_a_window_that_covers_an_axis_is_clipped_and_stays():
    layout = lay_out((8, 9, 3), (8, 8, 4), shifted=True)
    assert layout.window == (8, 8, 3)
    assert layout.shift == (0, 4, 0)
    assert layout.padded == (8, 16, 3)


def test_windows_lie_row_by_row_and_volume_by_volume():
    tokens = torch.arange(2 * 4 * 2 * 2.0).reshape(2, 4, 2, 2, 1)
    windows = partition(tokens, lay_out((4, 2, 2), (2, 2, 2), shifted=False))
    assert torch.equal(windows[1, ..., 0], tokens[0, 2:, ..., 0])
    assert torch.equal(windows[2, ..., 0], tokens[1, :2, ..., 0])
    shifted = partition(tokens, lay_out((4, 2, 2), (2, 2, 2), shifted=True))
    assert torch.equal(shifted[0, ..., 0], tokens[0, 1:3, ..., 0])
    assert torch.equal(shifted[1, ..., 0], tokens[0, [3, 0], ..., 0])


def test_no_mask_where_nothing_is_shifted_or_padded():
    tokens = torch.zeros(1, 4, 2, 2, 1)
    assert regions(tokens, lay_out((4, 2, 2), (2, 2, 2), shifted=False)) is None
    assert regions(tokens, lay_out((4, 2, 2), (4, 4, 4), shifted=True)) is None


def test_mask_by_hand():
    """Five tokens in a row and windows of two, shifted by one: (1 2) (3 4) (padding 0), 0 being carried round."""
    tokens = torch.randn(1, 5, 1, 1, 3)
    mask = region_mask(regions(tokens, lay_out((5, 1, 1), (2, 1, 1), shifted=True)))
    apart = torch.tensor([[0.0, BLOCKED], [BLOCKED, 0.0]])
    assert torch.equal(mask, torch.stack([torch.zeros(2, 2), torch.zeros(2, 2), apart]))
    twice = tokens[:, :4].repeat(2, 1, 1, 1, 1)
    even = region_mask(
        regions(twice, lay_out((4, 1, 1), (2, 1, 1), shifted=True))
    )  # (1 2) (3 0) of each volume
    assert torch.equal(even, torch.stack([torch.zeros(2, 2), apart] * 2))
    padded = region_mask(
        regions(tokens, lay_out((5, 1, 1), (2, 1, 1), shifted=False))
    )  # (0 1) (2 3) (4 padding)
    assert torch.equal(padded, torch.stack([torch.zeros(2, 2), torch.zeros(2, 2), apart]))


def test_mask_of_two_axes_by_hand():
    """A 4 x 4 plane: the last window joins its four corners, which are four regions."""
    tokens = torch.zeros(1, 4, 4, 1, 1, dtype=torch.bfloat16)
    mask = region_mask(regions(tokens, lay_out((4, 4, 1), (2, 2, 1), shifted=True)))
    assert mask.dtype == torch.bfloat16
    seen = mask == 0  # windows: middle, right and left edge, bottom and top, corners; tokens row by row
    across_columns = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]).bool()
    across_rows = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).bool()
    expected = [torch.ones(4, 4).bool(), across_columns, across_rows, torch.eye(4).bool()]
    assert torch.equal(seen, torch.stack(expected))


def test_channels_keep_the_same_apart():
    tokens = torch.zeros(1, 5, 4, 3, 1)
    labels = regions(tokens, lay_out((5, 4, 3), (2, 2, 2), shifted=True))
    query, key = region_channels(labels)
    assert torch.equal(query @ key.transpose(1, 2), region_mask(labels))


@pytest.mark.parametrize("relative_positions", [True, False])
@pytest.mark.parametrize("shifted", [False, True])
def test_a_token_sees_its_neighbours_and_no_other_region(shifted, relative_positions):
    """What token (4, 0, 0) of a 5 x 3 x 2 grid depends on, in windows of 4 x 2 x 2: real tokens of its place alone."""
    torch.manual_seed(0)
    layout = lay_out((5, 3, 2), (4, 2, 2), shifted=shifted)
    attention = WindowAttention(8, heads=2, window=(4, 2, 2), relative_positions=relative_positions)
    tokens = torch.randn(1, 5, 3, 2, 8, requires_grad=True)
    out = merge(attention(partition(tokens, layout), regions(tokens, layout)), layout)
    (gradient,) = torch.autograd.grad(out[0, 4, 0, 0].sum(), tokens)
    seen = (gradient[0] != 0).any(-1)
    expected = torch.zeros(5, 3, 2, dtype=torch.bool)
    if shifted:
        expected[2:5, 0] = True  # rows 2 to 4 of one window, column 0 carried round to the last, both slices
    else:
        expected[4, 0:2] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize(
    "grid, largest, window",
    [
        ((16, 16, 16), 8, (8, 8, 8)),
        ((12, 16, 12), 8, (6, 8, 6)),
        ((7, 3, 20), 8, (7, 3, 5)),
        ((11, 26, 8), 8, (8, 8, 8)),
    ],
)
def test_windows_divide_the_grid_where_they_can(grid, largest, window):
    assert choose_window(grid, largest) == window


def test_the_planner_counts_the_windows_that_the_network_chooses():
    """It has its own copy of the rule, since it never imports torch."""
    for side in range(1, 41):
        for largest in (1, 4, 7, 8):
            grid = (side, 2 * side, 12)
            assert tuple(window_sides(grid, largest)) == choose_window(grid, largest)
