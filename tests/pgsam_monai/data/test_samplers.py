"""Which slices an epoch shows: shuffled passes, whatever ran before. On real cases: test_datasets.py."""

from collections import Counter

import numpy as np

from pgsam_monai.data.samplers import ClassAwareSliceSampler, SliceDraw


class Slices:
    """So many slices, of which 5 to 13 hold class 1 and 15 to 16 class 3."""

    classes = [1, 3]

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return self.number

    def slices_holding(self, label):
        return np.arange(5, 14) if label == 1 else np.arange(15, 17)


def epochs_of(numbers, slices, draws, **options):
    """What a sampler draws in each of these epochs."""
    sampler = ClassAwareSliceSampler(Slices(slices), draws, **options)
    drawn = []
    for number in numbers:
        sampler.set_epoch(number)
        drawn.append(list(sampler))
    return drawn


def test_draws_keep_their_numbers_and_know_their_class():
    """Resumed trainings depend on the numbers; only draws for a class name it."""
    assert epochs_of([2], 40, 6, seed=7) == [[
        SliceDraw(12, 555329188, 1), SliceDraw(18, 2869626786), SliceDraw(39, 702348115),
        SliceDraw(9, 640260887, 1), SliceDraw(3, 994740347), SliceDraw(7, 3401396239, 1),
    ]]  # fmt: skip


def test_as_many_draws_as_slices_show_each_once_in_an_order_of_the_epoch():
    first, second = epochs_of([1, 2], 20, 20, foreground_share=0.0)
    orders = [[draw.index for draw in drawn] for drawn in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20)) and orders[0] != orders[1]
    assert len({draw.seed for draw in (*first, *second)}) == 40


def test_an_epoch_with_more_draws_than_slices_begins_with_a_whole_pass():
    """As a DataLoader that shuffles, whose last batch is filled up here: 23 draws of 20 slices, then of 20 again."""
    for drawn in epochs_of(range(1, 6), 20, 23, foreground_share=0.0):
        order = [draw.index for draw in drawn]
        assert sorted(order[:20]) == list(range(20)) and len(set(order[20:])) == 3


def test_epochs_with_fewer_draws_than_slices_go_on_where_the_last_one_ended():
    drawn = epochs_of(range(6), 20, 8, foreground_share=0.0)
    order = [draw.index for epoch in drawn for draw in epoch]
    assert sorted(order[:20]) == sorted(order[20:40]) == list(range(20)) and order[:20] != order[20:40]
    assert drawn[4:] == epochs_of([4, 5], 20, 8, foreground_share=0.0)  # whatever came before


def test_draws_for_a_class_show_its_slices_evenly_too():
    """Half of 40 draws choose a class; 2 slices hold class 3, each drawn as often as the other, one more at most."""
    (drawn,) = epochs_of([3], 40, 40, seed=1)
    counted = Counter(draw.label for draw in drawn)
    assert counted[0] == 20 and counted[1] + counted[3] == 20 and min(counted.values()) > 0
    assert len({draw.index for draw in drawn if not draw.label}) == 20
    rare = Counter(draw.index for draw in drawn if draw.label == 3)
    assert max(rare.values()) - min(rare[15], rare[16]) <= 1


def test_ranks_share_an_epoch_without_seeing_a_slice_twice():
    ranks = [epochs_of([1], 20, 20, foreground_share=0.0, rank=rank, world_size=4)[0] for rank in range(4)]
    assert [len(rank) for rank in ranks] == [5] * 4
    assert sorted(draw.index for rank in ranks for draw in rank) == list(range(20))
