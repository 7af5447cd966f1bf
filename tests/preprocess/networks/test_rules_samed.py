"""SAMed's own decisions, and its share of the memory rule."""

from __future__ import annotations

import pytest
import torch
from plan_evidence import GPU, evidence

from pgsam_monai.base.errors import UserFault
from preprocess.bundle.emit import bundle_values
from preprocess.networks.samed.rules import keeps_further_layers
from preprocess.plan.kinds import kind_of
from preprocess.plan.overrides import parse_overrides
from preprocess.plan.plan import make_plan
from preprocess.recipes import load_recipe
from preprocess.rules.encoders import ENCODERS

HEADER = {
    "name": "synapse", "folder": "/data/Synapse", "layout": "synapse", "file_format": "volume", "channels": ["CT"],
    "num_cases": 30, "skipped": [],
}  # fmt: skip


def plan(*wishes):
    header = {"name": "x", "folder": "/x", "layout": "msd", "channels": ["CT"]}
    return make_plan(evidence(machine=GPU), dataset=header, overrides=parse_overrides(wishes))


def test_the_decoder_has_sams_two_layers_unless_wished_otherwise():
    assert plan().value("decoder_layers", "samed") == 2
    assert plan("samed.decoder_layers=6").value("decoder_layers", "samed") == 6
    with pytest.raises(UserFault, match="decoder_layers must be a whole number of at least 2"):
        plan("samed.decoder_layers=1")


def test_further_layers_take_memory():
    """Four of 1.58 million parameters at 16 bytes; 32 x 32 cells of 1700 values each."""
    beside = keeps_further_layers({"decoder_layers": 6, "image_size": 512}, ENCODERS["vit_b"])
    assert beside.megabytes == pytest.approx(4 * 1.58 * 16) and beside.values == 4 * 1700 * 32**2
    none = keeps_further_layers({"decoder_layers": 2, "image_size": 512}, ENCODERS["vit_b"])
    assert (none.megabytes, none.values) == (0, 0)


def loss_of(plan):
    from monai.bundle import ConfigParser

    values = bundle_values(plan.to_json(), "samed")
    config = {name: values[name] for name in ("ce_weight", "dice_weight", "loss", "resolution_weights")}
    return ConfigParser(config).get_parsed_content("loss")


@pytest.mark.parametrize(("recipe", "weights"), [("samed_synapse", (0.0, 1.0)), (None, (1.0, 1.0))])
def test_the_loss_looks_at_low_resolution_alone_as_released_or_at_both(recipe, weights):
    made = load_recipe(recipe) if recipe else None
    loss = loss_of(
        make_plan(None if recipe else evidence(), dataset=HEADER, networks=("samed",), recipe=made)
    )
    label = torch.zeros(2, 1, 8, 8)
    label[:, :, 1::4, 1::4] = 5  # which the pixels in the middle of 4 x 4 don't have
    label[:, :, 2::4, 2::4] = 3  # and these do
    classes = 9 if recipe else 3
    label = label.clamp(max=classes - 1)
    full, low = torch.randn(2, classes, 8, 8), torch.randn(2, classes, 2, 2)
    nearest = label[:, :, 2::4, 2::4]
    expected = weights[0] * loss.loss(full, label) + weights[1] * loss.loss(low, nearest)
    assert torch.allclose(loss([full, low], label), expected)
    assert loss.loss.lambda_ce == 0.2 and loss.loss.lambda_dice == 0.8


def test_a_loss_that_looks_nowhere_cannot_be_asked_for():
    kind = kind_of("resolution_weights", "samed")
    assert kind.allows([0, 1]) and kind.allows([2.0, 0.5])
    assert not any(kind.allows(value) for value in ([0, 0], [1], [1, -1], None, "low"))
