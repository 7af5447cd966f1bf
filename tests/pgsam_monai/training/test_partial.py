"""The loss of partial labels, by hand."""

import math

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss

from pgsam_monai.networks.refsam3d.referring import Referred, choose_asked
from pgsam_monai.training.losses import RequestLoss
from pgsam_monai.training.partial import (
    PartialLoss,
    PartialTarget,
    PreparePartialBatch,
    with_unknown_as_background,
)

SETTINGS = {
    "to_onehot_y": True, "softmax": True, "squared_pred": True, "batch": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5,
    "lambda_ce": 0.2, "lambda_dice": 0.8,
}  # fmt: skip
NOBODY = 255


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    torch.manual_seed(0)


def partial_loss(**options):
    return PartialLoss(DiceCELoss(**SETTINGS), weight_mode="same", **options)


def known(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def logits_of(*probabilities):
    """One sample; a row per voxel."""
    return torch.tensor(probabilities, dtype=torch.float64).log().T[None].float().requires_grad_()


def test_a_line_of_two_voxels_by_hand():
    """Background, a known class and one that wasn't looked for; the voxels are background-or-unknown, and the known."""
    logits = logits_of([0.3, 0.2, 0.5], [0.1, 0.6, 0.3])
    target = PartialTarget(torch.tensor([[[0.0, 1.0]]]), known([1, 1, 0]))
    together, one = [0.8, 0.4], [0.2, 0.6]  # of background with the unknown, and of the known, in each voxel

    def dice(right, wrong):  # 1 - 2 p·t / (p·p + t·t), with one voxel of the target
        return 1 - (2 * right + 1e-5) / (right**2 + wrong**2 + 1 + 1e-5)

    entropy = -(math.log(together[0]) + math.log(one[1])) / 2
    wanted = 0.2 * entropy + 0.8 * (dice(*together) + dice(one[1], one[0]) + 0) / 3
    assert partial_loss()(logits, target).item() == pytest.approx(wanted, rel=1e-5)


def test_how_background_and_the_unknown_share_a_voxel_is_nobody_s_business():
    label = torch.tensor([[[0.0, 1.0, 0.0]]])
    target = PartialTarget(label, known([1, 1, 0, 0]))
    one = logits_of([0.3, 0.2, 0.4, 0.1], [0.2, 0.5, 0.1, 0.2], [0.7, 0.1, 0.1, 0.1])
    other = logits_of([0.01, 0.2, 0.7, 0.09], [0.3, 0.5, 0.19, 0.01], [0.1, 0.1, 0.2, 0.6])
    loss = partial_loss()
    assert loss(one, target).item() == pytest.approx(loss(other, target).item(), rel=1e-5)
    loss(one, target).backward()
    # From the unknown to the background along what leaves their sum: p_a dz_a + p_b dz_b = 0.
    shares, gradient = one.detach().softmax(1)[0], one.grad[0]
    torch.testing.assert_close(gradient[0] * shares[2], gradient[2] * shares[0])
    assert gradient[:, 0].abs().max() > 0


@pytest.mark.parametrize("shape", [(2, 4, 6, 5), (2, 4, 4, 4, 3)])
def test_full_labels_give_the_very_loss_of_monai(shape):
    label = torch.randint(4, (2, 1, *shape[2:])).float()
    outputs = [torch.randn(shape), torch.randn(2, 4, *(side // 2 for side in shape[2:]))]
    plain = DeepSupervisionLoss(DiceCELoss(**SETTINGS), weight_mode="exp")
    ours = PartialLoss(DiceCELoss(**SETTINGS), weight_mode="exp")
    everything = PartialTarget(label, torch.ones(2, 4, dtype=torch.bool))
    for target in (everything, label):
        assert ours(outputs, target) == plain(outputs, label)
        assert ours(outputs[0], target) == plain(outputs[0], label)


def test_voxels_that_nobody_labelled_are_as_if_they_were_not_there():
    label = torch.randint(3, (2, 1, 4, 6)).float()
    outputs = torch.randn(2, 3, 4, 6, requires_grad=True)
    label[..., 4:] = NOBODY
    target = PartialTarget(label, torch.ones(2, 3, dtype=torch.bool))
    loss = partial_loss()(outputs, target)
    assert loss.item() == pytest.approx(
        DiceCELoss(**SETTINGS)(outputs[..., :4], label[..., :4]).item(), rel=1e-5
    )
    loss.backward()
    assert outputs.grad[..., 4:].abs().max() == 0
    assert outputs.grad[..., :4].abs().min() > 0


def test_a_batch_that_nobody_labelled_teaches_nothing():
    outputs = [torch.randn(1, 3, 4, 4, requires_grad=True), torch.randn(1, 3, 2, 2, requires_grad=True)]
    target = PartialTarget(torch.full((1, 1, 4, 4), float(NOBODY)), known([1, 1, 1]))
    loss = partial_loss()(outputs, target)
    loss.backward()
    assert loss.item() == 0
    assert outputs[0].grad.abs().max() == 0


def test_coarser_outputs_leave_out_what_is_coarsely_unlabelled():
    label = torch.tensor([[[[0.0, 0, NOBODY, NOBODY], [0, 0, NOBODY, NOBODY]]]])
    coarse = torch.randn(1, 2, 1, 2, requires_grad=True)
    partial_loss()([torch.randn(1, 2, 2, 4), coarse], PartialTarget(label, known([1, 1]))).backward()
    assert coarse.grad[..., 1].abs().max() == 0
    assert coarse.grad[..., 0].abs().max() > 0


def test_samples_of_a_batch_know_different_classes_and_half_precision_is_enough():
    logits = torch.randn(2, 4, 8, 8).half().requires_grad_()
    label = torch.randint(2, (2, 1, 8, 8)).float()
    target = PartialTarget(label, known([1, 1, 1, 1], [1, 1, 0, 0]))
    loss = partial_loss()(logits, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    made = with_unknown_as_background(logits.detach().float(), target.known).softmax(1)
    torch.testing.assert_close(made[0], logits[0].detach().float().softmax(0))
    assert made[1, 2:].max() == 0


def test_other_weights_can_be_set_while_it_trains():
    """As `handlers.StageWeights` does."""
    loss, label = partial_loss(), torch.zeros(1, 1, 4, 4)
    outputs = [torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)]
    target = PartialTarget(label, known([1, 1]))
    loss.weights = [0.0, 1.0]
    assert loss(outputs, target) == loss(outputs[1], target)


def test_an_answer_to_a_request_leaves_out_what_nobody_labelled():
    label = torch.tensor([[[1.0, 0, NOBODY, NOBODY]]])
    answer = Referred(torch.randn(1, 2, 4), torch.tensor([[[1.0, 0, 0, 0]]]))
    loss = RequestLoss(partial_loss())
    wanted = DiceCELoss(**SETTINGS)(answer.logits[..., :2], answer.target[..., :2])
    torch.testing.assert_close(loss(answer, PartialTarget(label, known([1, 1, 0]))), wanted)


def test_nothing_is_asked_that_nobody_looked_for():
    label = torch.tensor([1, 2, 0, 0]).reshape(1, 1, 4, 1, 1).expand(2, -1, -1, -1, -1)
    for absent_share in (0.0, 1.0):
        asked = [choose_asked(label, 3, absent_share, known([1, 0, 1, 0], [1, 0, 0, 1])) for _ in range(20)]
        assert {tuple(each.tolist()) for each in asked} == {(2, 3)}


def test_a_batch_is_prepared_for_loss_and_network():
    label = torch.tensor([[[0.0, 2.0, NOBODY]]])
    batch = {"image": torch.zeros(1, 1, 3), "label": label, "known": known([1, 0, 1])}
    image, target, _, given = PreparePartialBatch({"label": "label", "known": "known"})(batch)
    assert image.shape == (1, 1, 3)
    assert target.label.tolist() == label.tolist()
    assert given["label"].tolist() == [[[0.0, 2.0, 0.0]]]
    assert given["known"].tolist() == [[True, False, True]]
    assert PreparePartialBatch()(batch)[3] == {}
