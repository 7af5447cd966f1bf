"""H-SAM's own decisions, and its share of the memory rule."""

from __future__ import annotations

from plan_evidence import GPU, evidence

from preprocess.networks.hsam.rules import class_attention_parameters, keeps_second_decoder
from preprocess.plan.overrides import make_override
from preprocess.plan.plan import make_plan
from preprocess.rules.encoders import ENCODERS
from preprocess.rules.memory import fixed_gb, image_gb


def decide(*overrides, **changes):
    header = {"name": "x", "folder": "/x", "layout": "msd", "channels": ["CT"]}
    plan = make_plan(
        evidence(**changes), dataset=header, networks=("hsam", "samed"), recipe=None, overrides=overrides
    )
    return {name: plan.configurations[name] for name in ("hsam", "samed")}


def test_its_own_decisions():
    hsam = decide(make_override("weights", None))["hsam"]
    assert (hsam["ce_weight"].value, hsam["dice_weight"].value) == (0.1, 0.9)
    assert hsam["stage_schedule"].value == "paper"
    assert hsam["stage_epochs"].value == hsam["epochs"].value
    assert hsam["noise_std"].value == 0.35
    assert hsam["class_attention_grid"].value == "fixed"
    assert (
        hsam["second_stage_start"].value == "sam" and "without weights" in hsam["second_stage_start"].reason
    )
    assert "LiteMedSAM's weights" in decide(machine=GPU)["hsam"]["second_stage_start"].reason
    assert hsam["ensemble"].value == "second" and "docs/results.md" in hsam["ensemble"].reason


def test_its_second_decoder_takes_memory():
    """Measured in float32 at 224 pixels: 0.015 GB an image more than SAMed."""
    one = {"image_size": 224, "num_classes": 8, "mixed_precision": False}
    second = keeps_second_decoder({"image_size": 224, "class_attention_grid": "fixed"}, ENCODERS["vit_tiny"])
    more = image_gb("vit_tiny", beside=second, **one) - image_gb("vit_tiny", **one)
    assert 0.012 < more < 0.018
    assert fixed_gb("vit_b", encoder_training="lora", beside=second) > fixed_gb(
        "vit_b", encoder_training="lora"
    )
    plans = decide(machine=GPU)
    assert plans["hsam"]["batch_size"].value <= plans["samed"]["batch_size"].value
    assert plans["hsam"]["batch_size"].reason != plans["samed"]["batch_size"].reason


def test_a_class_attention_of_the_embeddings_own_grid_takes_more():
    """Of the network, without the linear layer's 10: 960 302 parameters at 14 x 14, 8 399 882 at 32 x 32."""
    assert (class_attention_parameters(14), class_attention_parameters(32)) == (960_292, 8_399_872)

    def megabytes(grid, size, backbone="vit_b"):
        decided = {"image_size": size, "class_attention_grid": grid}
        return keeps_second_decoder(decided, ENCODERS[backbone]).megabytes

    assert megabytes("native", 224) == megabytes("fixed", 512)
    assert round(megabytes("native", 512) - megabytes("fixed", 512)) == 119  # 7.44 million at 16 bytes
    assert megabytes("native", 128, "lite_medsam") == megabytes(
        "native", 512
    )  # 4 pixels a cell in place of 16
