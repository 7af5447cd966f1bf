"""Soft Dice Confidence by hand, in pieces, and out of every inferer."""

import math

import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate

from pgsam_monai.inference import confidence
from pgsam_monai.inference.confidence import SoftDice, by_name, confidence_of, noted, soft_dice
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer

PROBABILITIES = torch.tensor([[0.2, 0.6], [0.8, 0.4]])  # (K+1, voxels)
BY_HAND = [2 * 0.6 / (1 + 0.8), 2 * 0.8 / (1 + 1.2)]


def of(logits):
    gathered = SoftDice()
    gathered.add(logits)
    return gathered.per_class()


def fixed(probabilities):
    """A network that gives these probabilities of each class everywhere."""
    logits = torch.tensor(probabilities).log()

    def network(image):
        return (
            logits.reshape(1, -1, *(1,) * (image.ndim - 2)).expand(len(image), -1, *image.shape[2:]).clone()
        )

    return network


def batch_of(*volumes):
    return list_data_collate([{"image": MetaTensor(volume, affine=torch.eye(4))} for volume in volumes])[
        "image"
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_two_voxels_by_hand(dtype):
    assert of(PROBABILITIES.log().to(dtype)[None]).tolist() == pytest.approx(BY_HAND, rel=1e-2)
    assert of(PROBABILITIES.log()[None] + 50).tolist() == pytest.approx(BY_HAND, rel=1e-5)
    assert soft_dice(PROBABILITIES.reshape(2, 1, 2, 1)).tolist() == pytest.approx(BY_HAND, rel=1e-5)


def test_a_class_that_is_nowhere_the_most_probable_has_none_and_the_lower_index_wins_a_tie():
    equal = of(torch.zeros(1, 3, 4, 4))
    assert equal[0] == pytest.approx(2 * 16 / 3 / (16 + 16 / 3)) and equal[1:].isnan().all()
    assert soft_dice(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()[:2] == [1, 1]


def test_it_does_not_matter_how_logits_come(monkeypatch):
    logits = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3
    whole = of(logits)
    assert torch.allclose(whole, soft_dice(logits.softmax(1).movedim(1, 0)), atol=1e-6)
    monkeypatch.setattr(confidence, "VALUES", 4 * 7)
    assert torch.equal(of(logits), whole)
    gathered = SoftDice()
    for row in logits:
        gathered.add(row[None])
    assert torch.equal(gathered.per_class(), whole)
    with pytest.raises(ValueError, match="no logits were added"):
        SoftDice().per_class()


@pytest.mark.parametrize(
    "inferer", [SliceInferer(6), SliceInferer(6, stack_depth=2), PatchInferer((6, 4, 4))]
)
def test_every_inferer_tells_it_of_each_volume(inferer):
    volume = torch.rand(1, 6, 4, 5)
    expected = [2 * 0.7 / 1.7, math.nan, math.nan]
    answer = inferer(batch_of(volume, volume), fixed([0.7, 0.2, 0.1]))
    for item in decollate_batch({"pred": answer}):
        assert confidence_of(item["pred"]) == pytest.approx(expected, nan_ok=True)
    assert torch.equal(answer.as_tensor(), inferer(torch.stack([volume] * 2), fixed([0.7, 0.2, 0.1])))


def test_plain_tensors_and_logits_tell_nothing():
    volume, network = torch.rand(1, 1, 6, 4, 5), fixed([0.7, 0.3])
    assert confidence_of(SliceInferer(6)(volume, network)) == []
    for inferer in (SliceInferer(6, output="logits"), PatchInferer((6, 4, 4), output="logits")):
        assert confidence.KEY not in inferer(batch_of(volume[0]), network).meta
    assert noted(volume, [SoftDice()]) is volume


def test_padding_does_not_count_and_each_volume_has_its_own():
    def by_value(image):
        """Class 1 with 0.9 where the image is bright, class 0 with 0.8 elsewhere, the padding included."""
        bright = (image > 0.5).float()
        first = 0.8 - 0.7 * bright
        return torch.cat([first, 1 - first], dim=1).log()

    bright, dark = torch.ones(1, 8, 4, 3), torch.zeros(1, 8, 4, 3)
    answer = SliceInferer(8)(batch_of(bright, dark), by_value)
    assert answer.meta[confidence.KEY][0].tolist() == pytest.approx([math.nan, 2 * 0.9 / 1.9], nan_ok=True)
    assert answer.meta[confidence.KEY][1].tolist() == pytest.approx([2 * 0.8 / 1.8, math.nan], nan_ok=True)


def test_of_wide_squares_every_second_pixel_counts(monkeypatch):
    monkeypatch.setattr("pgsam_monai.inference.slices.SIDE", 2)
    image = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])[None, :, :, None]
    answer = SliceInferer(4)(batch_of(image), lambda x: torch.cat([1 - x, x], dim=1))
    share = 1 / (1 + math.exp(-1))
    assert answer.meta[confidence.KEY][0].tolist() == pytest.approx(
        [math.nan, 2 * share / (1 + share)], nan_ok=True
    )


def test_names_of_what_was_found():
    assert by_name([0.9, math.nan, 0.123456789], ["background", "spleen", "liver"]) == {"liver": 0.123457}
    assert by_name([], ["background", "spleen"]) == {}
