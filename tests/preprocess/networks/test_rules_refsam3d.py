"""RefSAM3D's decisions against answers worked out by hand."""

from __future__ import annotations

import pytest
from plan_evidence import CPU, GPU, decide, evidence, values

from pgsam_monai.base.errors import UserFault
from preprocess.networks.refsam3d.memory import (
    WIDTHS,
    _decoder_values,
    _encoder_values,
    fixed_gb,
    patch_gb,
)
from preprocess.plan.overrides import make_override, parse_overrides
from preprocess.plan.plan import make_plan
from preprocess.rules import Machine

HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip
CUBIC = {"spacings": ((1.0, 1.0, 1.0),) * 10, "shapes": ((400, 400, 300),) * 10}
PICTURES = {
    "shapes": ((600, 800, 1),) * 10, "spacings": ((1.0, 1.0, 1.0),) * 10, "orientations": {"": 10},
    "file_format": "picture", "modality": "RGB", "image_range": (0.0, 255.0), "channels": ("red", "green", "blue"),
}  # fmt: skip
STEP = {
    "patch": (128, 128, 128), "num_classes": 12, "encoder_training": "adapters", "mixed_precision": True,
}  # fmt: skip


def machine(target, memory_gb):
    return Machine(target=target, memory_gb=memory_gb, target_reason="x.", memory_reason="x.")


def plan(*wishes, networks=("refsam3d",), **changes):
    return make_plan(
        evidence(**changes), dataset=HEADER, networks=networks, overrides=parse_overrides(wishes)
    )


def test_on_a_cpu_a_small_network_learns_from_random_numbers():
    own = values(evidence(**CUBIC), "refsam3d")
    expected = {
        "clip_model": "clip_tiny", "clip_weights": None, "clip_training": "full", "backbone": "vit_mini",
        "weights": None, "encoder_training": "full", "patch": [64, 64, 64], "token_size": [8, 8, 8],
        "mask_stride": 2, "decoder_widths": [64, 64, 64, 32], "checkpointing": False, "batch_size": 2,
        "iterations_per_epoch": 20, "epochs": 30, "learning_rate": 0.001, "foreground_share": 0.9,
    }  # fmt: skip
    assert {name: own[name] for name in expected} == expected
    assert "three times as much brought less" in decide(evidence(), "refsam3d")["learning_rate"].reason


def test_on_a_gpu_it_is_the_papers():
    own = values(evidence(machine=GPU, **CUBIC), "refsam3d")
    expected = {
        "clip_weights": "openai", "clip_training": "frozen", "backbone": "vit_b", "weights": "sam_vit_b",
        "encoder_training": "adapters", "patch": [128, 128, 128], "epochs": 200, "learning_rate": 0.0001,
        "weight_decay": 1e-05, "poly_power": 1.0, "ce_weight": 1.0, "dice_weight": 1.0, "foreground_share": 0.5,
        "overlap": 0.5, "referring_share": 0.5, "window": 8, "warmup_iterations": 100, "schedule_epochs": 200,
    }  # fmt: skip
    assert {name: own[name] for name in expected} == expected


def test_requests_that_take_steps_from_all_classes_get_fewer():
    beside, alone = (
        values(evidence(machine=GPU, **CUBIC), "refsam3d", competing_requests=each) for each in (True, False)
    )
    assert (beside["referring_share"], alone["referring_share"]) == (0.5, 0.25)


def test_a_sentence_encoder_takes_the_place_of_clip():
    clip, minilm = (
        values(evidence(machine=GPU, **CUBIC), "refsam3d", text_encoder=reader) for reader in (None, "minilm")
    )
    assert (clip["text_encoder"], clip["clip_weights"]) == (None, "openai")
    assert (minilm["clip_weights"], minilm["clip_training"]) == (None, "frozen")
    learning = values(evidence(machine=GPU, **CUBIC), "refsam3d", clip_training="lora")
    assert [plan["whitened_texts"] for plan in (clip, minilm, learning)] == [True, True, False]
    small = values(evidence(**CUBIC), "refsam3d", text_encoder="minilm")
    assert (small["clip_weights"], small["clip_training"]) == (None, "frozen"), "nothing of it is trained"
    one = {"encoder_training": "adapters", "num_classes": 12}
    tower = (49_408 * 512 + 12 * 12 * 512**2) * 4 / 1e9
    assert fixed_gb("vit_b", **one) - fixed_gb("vit_b", clip_model=None, **one) == pytest.approx(tower)
    assert "not by CLIP" in decide(evidence(), "refsam3d", text_encoder="minilm")["clip_weights"].reason


@pytest.mark.parametrize(
    ("spacing", "token"),
    [
        ((1.0, 1.0, 1.0), [8, 8, 8]),
        ((0.5, 0.5, 1.0), [8, 8, 4]),  # 4 slices are as long as 8 pixels
        ((0.75, 0.75, 3.0), [8, 8, 2]),
        ((0.5, 0.5, 16.0), [8, 8, 1]),  # a quarter of a slice, but one at least
        ((1.0, 1.0, 0.4), [8, 8, 8]),  # 20 slices, but no more than pixels
        ((0.8, 1.0, 2.5), [8, 8, 4]),  # 8 x 1 / 2.5 = 3.2 slices of the coarser pixels
    ],
)
def test_tokens_are_as_nearly_cubes_as_powers_of_two_allow(spacing, token):
    shapes = {"spacings": (spacing,) * 10, "shapes": ((300, 300, 100),) * 10}
    assert values(evidence(**shapes), "refsam3d", spacing=list(spacing))["token_size"] == token


def test_the_reason_of_the_tokens_states_its_numbers():
    reason = decide(evidence(machine=GPU), "refsam3d")["token_size"].reason
    assert "the finest of 4, 8, 16 that gives at most 32768 tokens and whose step 24 GB hold" in reason
    assert "8 x 0.75 mm / 3 mm = 2" in reason and "22 x 22 x 32 = 15488 tokens" in reason


def test_less_memory_makes_tokens_coarser_then_blocks_anew_then_patches_shorter():
    """From 80 to 4 GB nothing becomes finer or longer again."""
    tokens, lengths = [], []
    for memory_gb in (80, 40, 24, 16, 11, 8, 6, 5, 4):
        own = values(evidence(machine=machine("gpu", memory_gb), **CUBIC), "refsam3d")
        tokens.append(own["token_size"][0])
        lengths.append(sum(own["patch"]))
        assert own["batch_size"] in (1, 2)
    assert tokens == sorted(tokens) and tokens[0] == 4 and tokens[-1] == 16
    assert lengths == sorted(lengths, reverse=True) and lengths[0] == 3 * 128 > lengths[-1]


def test_a_patch_is_shortened_along_its_longest_axes():
    facts = evidence(machine=machine("gpu", 4), **CUBIC)
    shortened = decide(facts, "refsam3d", patch_3d=[160, 160, 80])["patch"]
    assert (
        shortened.value[2] == 80
        and shortened.value[0] < 160
        and abs(shortened.value[0] - shortened.value[1]) <= 16
    )
    assert all(side % 16 == 0 for side in shortened.value)
    assert "160 x 160 x 80 voxels as in the decision `patch_3d` don't fit into 4 GB" in shortened.reason
    tiny = decide(evidence(machine=machine("gpu", 1), **CUBIC), "refsam3d")
    assert tiny["patch"].value == [16, 16, 16] and "out of memory even so" in tiny["patch"].reason
    assert "may run out of memory" in tiny["batch_size"].reason
    assert values(facts, "refsam3d", patch_3d=[50, 33, 16], memory_gb=80)["patch"] == [64, 48, 16]


def test_blocks_are_computed_anew_where_the_batch_would_not_fit():
    kept = decide(evidence(machine=machine("gpu", 48), **CUBIC), "refsam3d")["checkpointing"]
    anew = decide(evidence(machine=machine("gpu", 24), **CUBIC), "refsam3d")["checkpointing"]
    assert (kept.value, anew.value) == (False, True)
    assert "24 GB hold 0, but 1 is wanted" in anew.reason


def test_steps_count_patches_of_the_training_cases():
    many = {"cases": {f"case{n}": (1, 2) for n in range(100)}}
    steps = decide(evidence(**many), "refsam3d")["iterations_per_epoch"]
    assert (
        steps.value == 100
    )  # 80 cases of a fold, 4 patches each, in steps of 2: 160, more than a CPU's budget
    assert "4 patches from each of about 80 training cases of a fold take 160 steps of 2" in steps.reason
    few = evidence(machine=GPU, few_shot="10%", **many)
    assert values(few, "refsam3d", batch_size=1)["iterations_per_epoch"] == 32
    slices = evidence(machine=GPU, few_shot="slices:10%", **many)
    assert values(slices, "refsam3d", batch_size=2)["iterations_per_epoch"] == 160


def test_what_the_memory_rule_counts():
    """A grid of 8 x 8 x 8 tokens is one window: 4 blocks of 512 tokens, 192 wide, 6 heads."""
    from preprocess.rules.encoders import ENCODERS

    one_block = 512 * (192 * 18 + 6 * 512)
    small = ENCODERS["vit_mini"]
    assert _encoder_values(small, [8, 8, 8], 8, "full", False) == 4 * one_block
    assert _encoder_values(small, [8, 8, 8], 8, "full", True) == one_block + 4 * 512 * 192
    assert _encoder_values(small, [8, 8, 4], 8, "full", False) == 4 * 256 * (192 * 18 + 6 * 256)
    assert _encoder_values(small, [9, 8, 8], 8, "full", False) == 2 * 4 * one_block  # padded to two windows
    full = 32**3  # a step each at an eighth, a quarter, a half of the side, and at full size
    steps = 3.3 * (64 * full / 8**3 + 32 * full / 4**3 + 16 * full / 2**3 + 16 * full)
    assert _decoder_values((32, 32, 32), (16, 16, 16), 1, WIDTHS, False) == pytest.approx(
        steps + 4 * 16 * full
    )
    fine = 5 * (32 * full / 4**3 + 16 * full / 2**3 + 16 * full)  # five maps more of the last three steps
    assert _decoder_values((32, 32, 32), (16, 16, 16), 1, WIDTHS, True) == pytest.approx(
        steps + fine + 4 * 16 * full
    )
    late = 3.3 * ((64 + 32) * full / 4**3 + 16 * full / 2**3 + 16 * full)
    assert _decoder_values((32, 32, 32), (4, 4, 4), 1, WIDTHS, False) == pytest.approx(late + 4 * 16 * full)
    half = 3.3 * (
        (64 + 32) * full / 8**3 + 16 * full / 4**3 + 8 * full / 2**3
    )  # cells of 2 voxels: no fusion
    assert _decoder_values((32, 32, 32), (8, 8, 8), 2, (64, 32, 16, 8), False) == pytest.approx(half)


def test_what_saves_memory():
    def gb(backbone="vit_b", p=8, checkpointing=False, **changes):
        sizes = {**STEP, "token_size": (p, p, p), "checkpointing": checkpointing, **changes}
        return patch_gb(backbone, **sizes)

    assert gb(p=16) < gb(p=8) < gb(p=4) and gb(p=4, checkpointing=True) < gb(p=4) / 3
    assert gb("vit_mini") < gb("efficient_sam_ti") < gb("vit_b") < gb("vit_h")
    assert gb(encoder_training="frozen") < gb() < gb(mixed_precision=False)
    # each further class is a map of full size, 6 copies of 4 bytes, and 70 % on top
    assert gb(num_classes=13) - gb() == pytest.approx(1.7 * 24 * 128**3 / 1e9, rel=0.02)
    # masks at half and at a quarter of the side: an eighth and a 64th of the voxels
    more = gb(num_classes=13, supervised_scales=3) - gb(supervised_scales=3)
    assert more == pytest.approx(1.7 * 24 * (1 + 1 / 8 + 1 / 64) * 128**3 / 1e9, rel=0.02)
    assert gb(fine_features=True) > gb()
    assert gb(mask_stride=2) < 0.8 * gb() and gb(decoder_widths=(64, 64, 64, 32)) > gb()
    # in half precision masks at one scale more bring a float32 copy of 16 features, in single precision none
    scale = {precision: gb(mixed_precision=precision, supervised_scales=2) - gb(mixed_precision=precision)
             for precision in (True, False)}  # fmt: skip
    assert scale[True] - scale[False] == pytest.approx(1.7 * 4 * 16 * 64**3 / 1e9)
    assert fixed_gb("vit_b", encoder_training="full") - fixed_gb(
        "vit_b", encoder_training="adapters"
    ) == pytest.approx(87e6 * 12 / 1e9)


@pytest.mark.parametrize(
    ("wishes", "networks", "sentence"),
    [
        (["backbone=vit_tiny"], ("refsam3d",), "RefSAM3D takes vit_mini, vit_b, .*override refsam3d.backbone=vit_mini"),
        (["backbone=lite_medsam"], ("refsam3d",), "RefSAM3D takes"),
        (["backbone=vit_mini"], ("samed",), "SAMed takes vit_tiny, vit_b, .*; override samed.backbone=vit_tiny"),
        (["encoder_training=lora"], ("refsam3d",), "RefSAM3D takes adapters, .*; override refsam3d.encoder_training"),
        (["augmentation=hsam"], ("refsam3d",), "RefSAM3D takes default, .*; override refsam3d.augmentation=default"),
        (["patch_3d=null"], ("refsam3d",), "patch_3d null: RefSAM3D trains on sub-volumes"),
        (["spacing=null"], ("refsam3d",), "spacing null: RefSAM3D resamples"),
        (["image_size=512"], ("refsam3d",), "image_size: a decision of samed, .* while refsam3d is planned"),
        (["patch=[64,64,64]"], ("samed",), "patch: a decision of refsam3d, .*while samed is planned"),
    ],
)  # fmt: skip
def test_contradictions_are_one_sentence(wishes, networks, sentence):
    with pytest.raises(UserFault, match=sentence):
        plan(*wishes, networks=networks)


def test_pictures_have_no_sub_volumes():
    with pytest.raises(UserFault, match="planned as single slices; leave refsam3d out of --networks"):
        plan(networks=("samed", "refsam3d"), **PICTURES)


@pytest.mark.parametrize("backbone", ["vit_mini", "vit_l", "vit_h", "efficient_sam_ti", "efficient_sam_s"])
def test_plain_vits_will_do(backbone):
    made = plan(f"backbone={backbone}", machine=GPU, **CUBIC)
    assert made.value("backbone", "refsam3d") == backbone
    assert made.value("encoder_training", "refsam3d") == ("full" if backbone == "vit_mini" else "adapters")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch", [64, 64]), ("patch", [64, 64, 60]), ("patch", 64), ("patch", [64.0, 64, 64]), ("patch", [0, 16, 16]),
        ("token_size", [4, 8, 4]), ("token_size", [2, 2, 2]), ("token_size", [4, 4, 3]), ("token_size", [16, 16]),
        ("mask_stride", 3), ("decoder_widths", [64, 32, 16]), ("decoder_widths", [64, 32, 16, 4]),
        ("window", 0), ("checkpointing", 1), ("overlap", 1), ("overlap", -0.1), ("referring_share", 1.5),
    ],
)  # fmt: skip
def test_values_that_it_cant_take(name, value):
    with pytest.raises(UserFault, match=f"{name} must be"):
        make_override(name, value)


def test_values_that_it_can_take():
    made = plan(
        "token_size=[16,16,8]", "patch=[96,64,32]", "overlap=0", "checkpointing=true", "window=4", machine=CPU
    )
    own = {name: decision.value for name, decision in made.configurations["refsam3d"].items()}
    assert (own["token_size"], own["patch"], own["overlap"]) == ([16, 16, 8], [96, 64, 32], 0)
    assert "Training vit_mini on 96 x 64 x 32 voxels" in made.configurations["refsam3d"]["batch_size"].reason


def test_auto_takes_it_where_neighbouring_slices_tell_something():
    assert list(plan(networks=("auto",), **CUBIC).configurations) == ["samed", "refsam3d"]
    assert list(plan(networks=("auto",)).configurations) == ["samed"]  # 3 mm apart at 0.75 mm in plane
    assert list(plan(networks=("auto",), **PICTURES).configurations) == ["samed"]
    assert list(plan("dimension=3d", networks=("auto",)).configurations) == ["samed", "refsam3d"]
