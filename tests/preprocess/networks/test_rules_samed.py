"""SAMed's own decision, and its share of the memory rule."""

from __future__ import annotations

import pytest
from plan_evidence import GPU, evidence

from pgsam_monai.base.errors import UserFault
from preprocess.networks.samed.rules import keeps_further_layers
from preprocess.plan.overrides import parse_overrides
from preprocess.plan.plan import make_plan
from preprocess.rules.encoders import ENCODERS


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
