import dataclasses

import pytest
import torch
from monai.data import MetaTensor

from pgsam_monai.networks.refsam3d.referring import (
    ReferringTraining,
    against_others,
    choose_asked,
    is_drawn,
    target_of,
    with_partners,
)
from pgsam_monai.networks.refsam3d.requests import TEMPLATES


def label_of(*volumes):
    """Volumes (1, 2, 2, 1) of four given voxels."""
    return torch.tensor(volumes, dtype=torch.uint8).reshape(-1, 1, 2, 2, 1)


def draw(label, absent_share, times=600, num_classes=4):
    torch.manual_seed(0)
    drawn = torch.stack([choose_asked(label, num_classes, absent_share) for _ in range(times)])
    assert drawn.dtype == torch.int64
    return [torch.bincount(each, minlength=num_classes + 1) / times for each in drawn.T]


def test_classes_that_a_volume_holds_are_drawn_alike_whatever_their_size():
    first, second = draw(label_of([1, 1, 3, 0], [2, 2, 2, 2]), absent_share=0.0)
    torch.testing.assert_close(first, torch.tensor([0, 0.5, 0, 0.5, 0]), atol=0.06, rtol=0)
    torch.testing.assert_close(second, torch.tensor([0, 0, 1.0, 0, 0]), atol=0, rtol=0)


def test_some_requests_are_for_any_class():
    (shares,) = draw(label_of([1, 1, 3, 0]), absent_share=0.4)
    torch.testing.assert_close(shares, torch.tensor([0, 0.4, 0.1, 0.4, 0.1]), atol=0.06, rtol=0)


def test_an_empty_volume_is_asked_for_any_class():
    (shares,) = draw(label_of([0, 0, 0, 0]), absent_share=0.0)
    torch.testing.assert_close(shares, torch.tensor([0, 0.25, 0.25, 0.25, 0.25]), atol=0.06, rtol=0)


def test_draws_follow_torchs_generator_and_do_not_depend_on_what_a_volume_holds():
    def all_draws(label):
        torch.manual_seed(7)
        asked = [choose_asked(label, 4, 0.3).tolist() for _ in range(20)]
        return asked, [is_drawn(0.5) for _ in range(20)]

    label = label_of([1, 2, 3, 4], [0, 4, 4, 0])
    assert all_draws(label) == all_draws(label)
    assert all_draws(label)[1] == all_draws(torch.zeros_like(label))[1]


def test_meta_tensors_are_taken_and_plain_ones_returned():
    label = MetaTensor(label_of([0, 1, 2, 2], [1, 1, 0, 0]).float())
    assert type(choose_asked(label, 2, 0.0)) is torch.Tensor
    target = target_of(label, torch.tensor([2, 2]))
    assert type(target) is torch.Tensor and target.dtype == torch.float32
    assert target.flatten(1).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]


def test_the_target_is_where_the_class_asked_for_is():
    target = target_of(label_of([0, 1, 2, 2], [1, 2, 0, 1]), torch.tensor([2, 1]))
    assert target.shape == (2, 1, 2, 2, 1) and target.dtype == torch.uint8
    assert target.flatten(1).tolist() == [[0, 0, 1, 1], [1, 0, 0, 1]]


def test_the_target_of_a_pair_is_where_either_is():
    target = target_of(label_of([0, 1, 2, 3], [1, 2, 0, 1]), torch.tensor([[3, 1], [2, 2]]))
    assert target.flatten(1).tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]


def test_a_share_of_the_requests_for_one_side_are_for_both_where_both_are_known():
    torch.manual_seed(0)
    partners, classes = {1: 3, 3: 1}, torch.tensor([3, 1, 2])
    known = torch.ones(3, 5, dtype=torch.bool)
    known[1, 3] = False
    drawn = [with_partners(classes, partners, 0.4, known).tolist() for _ in range(300)]
    assert sum(rows[0] == [3, 1] for rows in drawn) / 300 == pytest.approx(0.4, abs=0.07)
    assert {tuple(rows[0]) for rows in drawn} == {(3, 1), (3, 3)}
    assert all(rows[1:] == [[1, 1], [2, 2]] for rows in drawn)
    assert with_partners(classes, partners, 1.0).tolist() == [[3, 1], [1, 3], [2, 2]]


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0.0), (1.0, 1.0), (0.25, 0.25)])
def test_the_share_of_referring_steps(share, wanted):
    torch.manual_seed(0)
    steps = [is_drawn(share) for _ in range(400)]
    assert sum(steps) / len(steps) == pytest.approx(wanted, abs=0.05 if 0 < share < 1 else 0)


def test_defaults_and_limits():
    assert ReferringTraining() == ReferringTraining(share=0.25, absent_share=0.1, templates=TEMPLATES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReferringTraining().share = 0.5
    with pytest.raises(ValueError, match=r"share must lie between 0 and 1, got 1\.5"):
        ReferringTraining(share=1.5)
    with pytest.raises(ValueError, match=r"absent_share must lie between 0 and 1, got -0\.1"):
        ReferringTraining(absent_share=-0.1)


def test_among_classes_an_answer_competes_with_those_that_it_doesnt_mean():
    masks = torch.log(torch.tensor([1.0, 2.0, 3.0, 4.0])).reshape(1, 4, 1, 1, 1)
    first, second, last = torch.eye(4, dtype=torch.bool)[1:, None]
    assert against_others(masks, last).softmax(1).flatten().tolist() == pytest.approx([0.6, 0.4])
    assert against_others(masks, last, first).softmax(1).flatten().tolist() == pytest.approx([0.5, 0.5])
    assert against_others(masks, first | second).softmax(1).flatten().tolist() == pytest.approx([0.5, 0.5])
