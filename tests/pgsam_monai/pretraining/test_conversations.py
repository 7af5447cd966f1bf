"""Samples, conversations about them, what these cost, and the file that comes of it."""

from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine
from torch.utils.data import default_collate

from pgsam_monai.base.errors import UserFault
from pgsam_monai.pretraining.losses import ConversationLoss
from pgsam_monai.pretraining.metrics import ConversationMetrics, count_obeyed
from pgsam_monai.pretraining.network import Answers, PromptedSam
from pgsam_monai.pretraining.questions import DrawnQuestions, PassSampler
from pgsam_monai.prompts.points import ABSENT, NEGATIVE, POSITIVE


@pytest.fixture(scope="module")
def batch():
    questions = DrawnQuestions(image_size=64, targets=2, seed=5)
    return default_collate([questions[index] for index in range(4)])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PromptedSam(image_size=64, backbone="vit_tiny", answers=3)


def test_samples_are_those_of_their_seed_whatever_was_drawn_before(batch):
    alone = DrawnQuestions(image_size=64, targets=2, seed=5)[3]
    assert torch.equal(alone["image"], batch["image"][3]) and torch.equal(alone["label"], batch["label"][3])
    assert torch.equal(alone["prompts"].points, batch["prompts"].points[3])
    other = DrawnQuestions(image_size=64, targets=2, seed=6)[3]
    assert not torch.equal(other["image"], alone["image"])


def test_a_sample_has_its_shapes(batch):
    assert batch["image"].shape == (4, 1, 64, 64) and batch["label"].shape == (4, 2, 64, 64)
    points, labels, masks, has_mask = batch["prompts"]
    assert points.shape == (4, 2, 6, 2) and labels.shape == (4, 2, 6)
    assert masks.shape == (4, 2, 16, 16) and has_mask.shape == (4, 2)
    assert (batch["label"].sum(dim=(2, 3)) > 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 60},
        {"targets": 0},
        {"shapes_share": 1.5},
        {"contrast": "bright"},
        {"openings": {"click": 0.5}},
        {"openings": {"shout": 1.0}},
    ],
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(UserFault, match="DrawnQuestions"):
        DrawnQuestions(**{"image_size": 64, **wrong})


def test_epochs_go_on_where_the_last_one_ended():
    sampler = PassSampler(DrawnQuestions(image_size=64), draws_per_epoch=4)
    sampler.set_epoch(3)
    assert list(sampler) == [12, 13, 14, 15] and len(sampler) == 4


def test_a_conversation_goes_on_clicking(network, batch):
    answers = network.eval()(**{name: batch[name] for name in ("image", "label", "prompts")})
    assert len(answers.logits) == 3 and answers.logits[0].shape == (8, 64, 64)
    assert answers.points.shape == (8, 6 + 2, 2)
    targets = batch["label"].flatten(0, 1) > 0
    for number, kind in enumerate(answers.labels[:, 6:].T):
        wrong = (answers.logits[number] > 0) != targets
        assert torch.equal(kind == ABSENT, ~wrong.flatten(1).any(dim=1))


def test_every_trained_weight_gets_a_gradient(network, batch):
    torch.manual_seed(1)
    network.train()
    ConversationLoss()(network(batch["image"], batch["label"], batch["prompts"]), batch["label"]).backward()
    without = [
        name for name, value in network.named_parameters() if value.requires_grad and value.grad is None
    ]
    assert without == []


def test_training_draws_its_length_from_the_generator(network):
    torch.manual_seed(0)
    lengths = [network.train()._rounds() for _ in range(300)]
    assert set(lengths) == {1, 2, 3, 4, 8} and 2 < sum(lengths) / 300 < 3.5


def test_images_and_targets_must_agree(network, batch):
    with pytest.raises(UserFault, match="image and targets differ"):
        network(batch["image"][:2], batch["label"], batch["prompts"])


def two_answers() -> tuple[Answers, torch.Tensor]:
    """One target of 4 pixels out of 16; the first answer says nothing anywhere, the second is sure and right."""
    label = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    label[..., :2, :2] = 1
    sure = torch.where(label[0] > 0, 30.0, -30.0)
    points = torch.tensor([[[0.0, 0.0], [3.0, 3.0]]])
    labels = torch.tensor([[POSITIVE, NEGATIVE]])
    return Answers((torch.zeros(1, 4, 4), sure), (torch.zeros(1), torch.ones(1)), points, labels), label


def test_the_loss_is_that_of_every_answer():
    """First: log 2, Dice 1 - (4 + 1)/(12 + 1), a click at log 2, no overlap estimated as 0. Second: nothing."""
    answers, label = two_answers()
    expected = (math.log(2) + 1 - 5 / 13 + 0.3 * math.log(2)) / 2
    assert ConversationLoss(click_weight=0.3)(answers, label).item() == pytest.approx(expected, abs=1e-5)


def test_metrics_are_of_each_answer():
    answers, label = two_answers()
    metrics = ConversationMetrics()
    metrics.update((answers, label))
    engine = Engine(lambda engine, batch: None)
    metrics.completed(engine, "mean")
    # the first answer was told of one click, and didn't obey; the second of two
    assert engine.state.metrics == {"mean": 1.0, "dice_1": 0.0, "dice_2": 1.0, "obeyed": pytest.approx(2 / 3)}


def test_obedience_is_counted_at_the_clicked_pixels():
    found = torch.zeros(1, 4, 4, dtype=torch.bool)
    found[0, 1, 2] = True
    points = torch.tensor([[[2.0, 1.0], [2.0, 1.0], [0.0, 0.0], [3.0, 3.0]]])
    labels = torch.tensor([[POSITIVE, NEGATIVE, NEGATIVE, ABSENT]])
    assert count_obeyed(found, points, labels).tolist() == [2, 3]
