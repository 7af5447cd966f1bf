"""Med-SA's own decisions, and its share of the memory rule."""

from __future__ import annotations

import json

import pytest
from plan_evidence import GPU, evidence, values

from pgsam_monai.base.errors import UserFault
from preprocess.bundle.emit import bundle_files
from preprocess.networks.medsa.rules import keeps_answers
from preprocess.plan.overrides import make_override
from preprocess.plan.plan import make_plan
from preprocess.rules.encoders import ENCODERS
from preprocess.rules.memory import image_gb

THIN = {"spacings": ((0.75, 0.75, 1.5),) * 10}
HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip


def plan(*networks, overrides=(), **changes):
    wishes = [make_override(name, value) for name, value in overrides]
    return make_plan(evidence(**changes), dataset=HEADER, networks=networks, overrides=wishes)


def medsa(overrides=(), **changes):
    made = plan("medsa", overrides=overrides, **changes)
    return made.configurations["medsa"]


def test_its_own_decisions():
    own = {name: decision.value for name, decision in medsa(machine=GPU, **THIN).items()}
    expected = {
        "encoder_training": "adapters", "rank": 64, "scale": 0.05, "hyper_prompt": "hyper", "depth_fusion": "gated",
        "prompt_kinds": ["point", "points", "box"], "prompted_share": 0.5, "learning_rate": 0.001, "stack_depth": 4,
    }  # fmt: skip
    assert {name: own[name] for name in expected} == expected


def test_weights_that_never_saw_clicks_learn_what_they_mean():
    for weights, learnt in (("lite_medsam", True), ("medsam_vit_b", True), ("sam_vit_b", False)):
        backbone = weights if weights == "lite_medsam" else "vit_b"
        wishes = [("backbone", backbone), ("weights", weights), ("encoder_training", "adapters")]
        assert medsa(wishes)["prompt_encoder_training"].value is learnt
    assert medsa()["prompt_encoder_training"].value is False  # vit_tiny, where all is learnt


def test_stacks_where_slices_lie_close():
    assert medsa(machine=GPU, **THIN)["stack_depth"].value == 4
    assert "1.5 mm apart, 2.0 pixels" in medsa(machine=GPU, **THIN)["stack_depth"].reason
    assert medsa(**THIN)["stack_depth"].value == 1  # a CPU's steps are small
    assert medsa(machine=GPU)["stack_depth"].value == 1  # 3 mm apart at 0.75 mm in plane
    assert "Not used" in medsa()["depth_fusion"].reason
    pictures = {
        "shapes": ((600, 800, 1),) * 10, "spacings": ((1.0, 1.0, 1.0),) * 10, "orientations": {"": 10},
        "file_format": "picture", "modality": "RGB", "image_range": (0.0, 255.0), "channels": ("red", "green", "blue"),
    }  # fmt: skip
    assert medsa(**pictures)["stack_depth"].value == 1
    assert medsa([("dimension", "3d")], machine=GPU)["stack_depth"].value == 4


def test_a_plain_sum_of_branches_only_where_no_pretrained_features_would_suffer():
    assert medsa([("weights", None)], **THIN)["depth_fusion"].value == "add"  # vit_tiny
    assert medsa(machine=GPU, **THIN)["depth_fusion"].value == "gated"


@pytest.mark.parametrize(("wish", "depth"), [("slices:10%", 1), ("10%", 4), ("5", 4)])
def test_slices_chosen_one_by_one_have_no_neighbours(wish, depth):
    assert medsa(few_shot=wish, machine=GPU, **THIN)["stack_depth"].value == depth


def test_a_batch_counts_stacks_and_an_epoch_their_slices():
    alone, stacked = medsa(**THIN), medsa([("stack_depth", 4)], **THIN)
    assert (alone["batch_size"].value, stacked["batch_size"].value) == (12, 3)
    for planned in (alone, stacked):
        assert planned["iterations_per_epoch"].value == 67  # 800 slices in steps of 12
    gpu = values(evidence(machine=GPU, **THIN), "medsa")
    assert gpu["inference_batch_size"] == 2 * gpu["stack_depth"] * gpu["batch_size"]
    assert medsa([("stack_depth", 16)], **THIN)["batch_size"].value == 1


def _beside(backbone, prompted_classes, *, stack_depth):
    decided = {"image_size": 224, "labels": list(range(5)), "prompted_classes": prompted_classes}
    return keeps_answers({**decided, "stack_depth": stack_depth}, ENCODERS[backbone])


def test_prompts_and_neighbours_take_memory():
    """Measured in float32 at 224 pixels, GB an image: vit_tiny 0.014 and 0.057 more than SAMed for 1 and 4 prompts;
    ViT-B 0.11 more with neighbours."""
    one = {"image_size": 224, "num_classes": 4, "mixed_precision": False}
    more = [
        image_gb("vit_tiny", beside=_beside("vit_tiny", n, stack_depth=1), **one)
        - image_gb("vit_tiny", **one)
        for n in (1, 4)
    ]
    assert more == [pytest.approx(0.014, rel=0.2), pytest.approx(0.057, rel=0.2)]
    apart, seeing = (
        image_gb("vit_b", beside=_beside("vit_b", 4, stack_depth=depth), **one) for depth in (1, 4)
    )
    assert seeing - apart == pytest.approx(0.11, rel=0.2)
    made = plan("medsa", "samed", machine=GPU, **THIN)
    sizes = {name: entries["batch_size"] for name, entries in made.configurations.items()}
    assert 4 * sizes["medsa"].value <= sizes["samed"].value and "in stacks of 4" in sizes["medsa"].reason


def test_from_random_weights_all_of_it_is_trained():
    own = medsa([("backbone", "vit_tiny"), ("weights", None)])
    assert own["encoder_training"].value == "full"
    assert own["learning_rate"].value == 0.003 and "random weights" in own["learning_rate"].reason


def test_ways_of_training_that_a_network_lacks():
    with pytest.raises(
        UserFault, match="Med-SA takes adapters, .*; override medsa.encoder_training=adapters"
    ):
        plan("medsa", overrides=[("encoder_training", "lora")])
    with pytest.raises(
        UserFault, match="SAMed takes lora, full, frozen; override samed.encoder_training=lora"
    ):
        plan("samed", overrides=[("encoder_training", "adapters")])
    with pytest.raises(
        UserFault, match="AutoSAM takes frozen, full, lora; override autosam.encoder_training=frozen"
    ):
        plan("autosam", overrides=[("encoder_training", "adapters")])
    assert medsa([("encoder_training", "frozen")])["encoder_training"].value == "frozen"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_kinds", ["circle"]),
        ("prompt_kinds", []),
        ("stack_depth", 0),
        ("prompt_encoder_training", 1),
        ("depth_fusion", "sum"),
        ("scale", 0),
    ],
)
def test_values_that_it_cant_take(name, value):
    with pytest.raises(UserFault, match=f"{name} must be"):
        make_override(name, value)


def test_only_its_bundle_speaks_of_stacks_and_prompts():
    record = plan("medsa", "samed", machine=GPU, overrides=[("image_size", 224)], **THIN).to_json()
    files = {network: bundle_files(record, {}, network) for network in ("medsa", "samed")}
    train, inference = (json.loads(files["medsa"][f"configs/{name}.json"]) for name in ("train", "inference"))
    assert train["stack_depth"] == inference["stack_depth"] == 4
    for part in (train["train"]["dataset"], train["inferer"], inference["inferer"], inference["network_def"]):
        assert part["stack_depth"] == "@stack_depth"
    assert train["loss"]["weights"] == ["$1 - @prompted_share", "@prompted_share"]
    assert train["network_def"]["prompt_training"]["max_classes"] == 4
    shape = json.loads(files["medsa"]["configs/metadata.json"])["network_data_format"]["inputs"]["image"]
    assert shape["spatial_shape"] == [224, 224, "4 * n"]  # else MONAI would export it for a single slice
    configs = [files["samed"][f"configs/{name}.json"] for name in ("train", "inference", "evaluate")]
    assert not any("stack" in text or "prompt" in text for text in configs)


def test_overlays_are_tables_5_and_8():
    files = bundle_files(plan("medsa").to_json(), {}, "medsa")
    rows = {
        name.removeprefix("configs/ablation_").removesuffix(".json"): tuple(json.loads(text).values())
        for name, text in files.items()
        if "ablation_" in name
    }
    assert rows == {
        "1_baseline": ("none", "none"), "2_sd_trans": ("add", "none"), "3_prompt_added": ("add", "add"),
        "4_prompt_concatenated": ("add", "concat"), "5_full": ("add", "hyper"),
        "6_depth_concatenated": ("concat", "hyper"), "7_depth_cross_attention": ("cross", "hyper"),
    }  # fmt: skip
    assert "| overlay | depth fusion | hyper prompt |" in files["docs/README.md"]
