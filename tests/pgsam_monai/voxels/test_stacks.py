"""Which slices lie in which stack."""

import pytest

from pgsam_monai.voxels.stacks import stack_around, stacks_over


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("stack_depth", [1, 2, 3, 5])
def test_every_slice_is_kept_once_where_it_stands(depth, stack_depth):
    for overlap in range(stack_depth):
        stacks = stacks_over(depth, stack_depth=stack_depth, overlap=overlap)
        assert sorted(stack.slices[n] for stack in stacks for n in stack.kept) == list(range(depth))
        assert all(len(stack.slices) == stack_depth for stack in stacks)


@pytest.mark.parametrize("depth", [3, 4])
def test_a_thin_volume_is_one_stack_the_same_in_training(depth):
    (stack,) = stacks_over(depth, stack_depth=6)
    assert stack == {3: ([0, 0, 0, 1, 2, 2], [2, 3, 4]), 4: ([0, 0, 1, 2, 3, 3], [1, 2, 3, 4])}[depth]
    assert all(stack_around(index, depth=depth, stack_depth=6) == stack.slices for index in range(depth))


def test_without_overlap_only_the_last_stack_is_moved():
    stacks = stacks_over(8, stack_depth=3)
    assert [stack.slices for stack in stacks] == [[0, 1, 2], [3, 4, 5], [5, 6, 7]]
    assert [stack.kept for stack in stacks] == [[0, 1, 2], [0, 1, 2], [1, 2]]


def test_the_drawn_slice_stands_in_the_middle():
    assert [stack_around(5, depth=12, stack_depth=depth).index(5) for depth in (1, 2, 3, 4, 5)] == [
        0,
        1,
        1,
        2,
        2,
    ]
