import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.losses import DiceCELoss

from pgsam_monai.networks.refsam3d.referring import Referred, target_of
from pgsam_monai.training.losses import RequestLoss

DICE_CE = {"to_onehot_y": True, "softmax": True, "squared_pred": True, "batch": True}
CONFIG = {
    "loss": {
        "_target_": "pgsam_monai.training.losses.RequestLoss",
        "loss": {"_target_": "monai.losses.DiceCELoss", **DICE_CE},
    }
}


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    torch.manual_seed(0)


def logits(channels):
    return torch.randn(2, channels, 4, 4, 2, requires_grad=True)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("meta", [True, False])
def test_from_a_config_both_questions_have_dice_and_cross_entropy(kind, meta):
    loss, plain = ConfigParser(CONFIG).get_parsed_content("loss"), DiceCELoss(**DICE_CE)
    label = torch.randint(4, (2, 1, 4, 4, 2)).to(kind)
    given = MetaTensor(label) if meta else label
    everything = logits(4)
    torch.testing.assert_close(loss(everything, given), plain(everything, label), check_dtype=False)
    answer = Referred(logits(2), target_of(given, torch.tensor([1, 3])))
    wanted = torch.cat([label[:1] == 1, label[1:] == 3]).long()
    torch.testing.assert_close(loss(answer, given), plain(answer.logits, wanted))
    loss(answer, given).backward()
    assert answer.logits.grad.abs().sum() > 0


def test_right_answers_cost_nothing_and_wrong_ones_do():
    loss = RequestLoss(DiceCELoss(**DICE_CE))
    label = torch.randint(3, (2, 1, 4, 4, 2))
    target = target_of(label, torch.tensor([2, 1]))
    right = 30.0 * torch.cat([1 - target, target], dim=1)
    assert loss(Referred(right, target), label).item() == pytest.approx(0, abs=1e-4)
    assert loss(Referred(right.flip(1), target), label).item() > 1


def test_it_goes_round_deep_supervision():
    parser = ConfigParser(
        {
            "loss": {
                "_target_": "pgsam_monai.training.losses.RequestLoss",
                "loss": {"_target_": "monai.losses.DeepSupervisionLoss", "loss": CONFIG["loss"]["loss"]},
            }
        }
    )
    loss, label = parser.get_parsed_content("loss"), torch.randint(2, (2, 1, 4, 4, 2))
    answer = Referred(logits(2), label)
    torch.testing.assert_close(loss(answer, label), DiceCELoss(**DICE_CE)(answer.logits, label))
