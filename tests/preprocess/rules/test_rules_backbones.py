"""The light pretrained backbones: their weights, what pixels those expect, and their memory beside measured steps."""

import pytest
from plan_evidence import GPU, decide, evidence, values

from preprocess.rules.encoders import ENCODERS, TINY_VITS, Blocks
from preprocess.rules.memory import image_gb, largest_batch

LIGHT = ("lite_medsam", "mobile_sam", "efficient_sam_ti", "efficient_sam_s")


@pytest.mark.parametrize("backbone", LIGHT)
def test_a_light_backbone_is_adapted_from_its_own_weights(backbone):
    decided = values(evidence(), backbone=backbone)
    assert (decided["weights"], decided["encoder_training"]) == (backbone, "lora")
    reasons = decide(evidence(), "samed", backbone=backbone)
    assert ("one layer" in reasons["encoder_training"].reason) == (backbone in TINY_VITS)
    assert ("pip install pgsam-monai[weights]" in reasons["weights"].reason) == (backbone == "lite_medsam")


@pytest.mark.parametrize(
    "wishes", [{"backbone": "lite_medsam"}, {"weights": "medsam_vit_b", "backbone": "vit_b"}]
)
def test_weights_of_plain_images_get_plain_images(wishes):
    decided = values(evidence(machine=GPU), **wishes)
    assert (decided["pixel_mean"], decided["pixel_std"]) == ([0, 0, 0], [1, 1, 1])


@pytest.mark.parametrize(
    "wishes",
    [
        {"backbone": "mobile_sam"},
        {"backbone": "efficient_sam_s"},
        {"backbone": "lite_medsam", "weights": None},
    ],
)
def test_other_weights_get_sams_statistics(wishes):
    decided = values(evidence(), **wishes)
    assert decided["pixel_mean"] == [0.485, 0.456, 0.406] and decided["pixel_std"][0] == 0.229


def test_windows_and_scores_of_blocks():
    blocks = Blocks(width=8, depth=2, heads=3, window=7, stride=4)
    assert blocks.windows(48) == 4  # 12 tokens per side, two windows each
    assert blocks.padded_tokens(48) == 14 * 14
    assert blocks.scores(48) == 2 * 3 * 4 * 49**2
    whole = Blocks(width=8, depth=1, heads=1)
    assert (whole.windows(48), whole.padded_tokens(48), whole.scores(48)) == (1, 9, 81)
    narrow = Blocks(width=8, depth=1, heads=1, window=14, narrows=True)  # 48 pixels: 3 tokens per side
    assert (narrow.windows(48), narrow.padded_tokens(48), narrow.scores(48)) == (1, 9, 81)
    assert (narrow.windows(240), narrow.padded_tokens(240)) == (4, 28**2)  # 15 tokens per side
    assert narrow.padded_tokens(48) < Blocks(width=8, depth=1, heads=1, window=14).padded_tokens(48) == 14**2


@pytest.mark.parametrize(
    ("backbone", "size", "training", "measured_gb"),
    [
        ("lite_medsam", 256, "lora", 0.87),
        ("lite_medsam", 256, "full", 2.36),
        ("lite_medsam", 128, "lora", 0.25),
        ("lite_medsam", 128, "full", 0.60),
        ("lite_medsam", 128, "frozen", 0.06),
        ("mobile_sam", 224, "lora", 0.037),
        ("mobile_sam", 224, "full", 0.13),
        ("efficient_sam_ti", 224, "lora", 0.028),
        ("efficient_sam_s", 224, "lora", 0.073),
        ("vit_b", 224, "lora", 0.19),
    ],
)
def test_memory_is_never_underestimated_and_at_most_three_times_too_large(
    backbone, size, training, measured_gb
):
    """Measured: the difference of the peaks of one CPU step in float32 of SAMed with batches of 1 and more."""
    planned = image_gb(
        backbone, image_size=size, num_classes=3, mixed_precision=False, encoder_training=training
    )
    assert measured_gb < planned < 3 * measured_gb


def test_lite_medsam_trains_in_few_gigabytes():
    memory = {"num_classes": 3, "mixed_precision": False, "encoder_training": "lora"}
    assert largest_batch("lite_medsam", image_size=224, memory_gb=16, **memory) >= 8
    assert largest_batch("mobile_sam", image_size=224, memory_gb=4, **memory) >= 12
    assert set(ENCODERS) >= set(LIGHT)
