"""The 3-D baseline's decisions and bundle against answers worked out by hand."""

from __future__ import annotations

import json

import pytest
from plan_evidence import CPU, GPU, decide, evidence, values

from pgsam_monai.base.errors import UserFault
from preprocess.bundle.emit import bundle_files
from preprocess.networks.dynunet_3d.rules import choose_topology, footprint, patch_gb
from preprocess.plan.overrides import make_override, parse_overrides
from preprocess.plan.plan import make_plan
from preprocess.rules import Machine
from preprocess.rules.footprint import Footprint

NAME = "dynunet_3d"
HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip
CUBIC = {"spacings": ((1.0, 1.0, 1.0),) * 10, "shapes": ((400, 400, 300),) * 10}
SMALL = {
    "kernels": [[3, 3, 1], [3, 3, 1], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]], "filters": [2, 4, 4],
}  # fmt: skip


def plan(*wishes, networks=(NAME,), **changes):
    return make_plan(
        evidence(**changes), dataset=HEADER, networks=networks, overrides=parse_overrides(wishes)
    )


def topology(patch, spacing, target="gpu"):
    return choose_topology(evidence(), {"patch": patch, "spacing": spacing, "target": target}).value


@pytest.mark.parametrize(
    ("patch", "spacing", "strides", "kernels", "filters"),
    [
        # 64 32 16 8 4
        ([64] * 3, [1.0] * 3, ["111", "222", "222", "222", "222"], ["333"] * 5, [32, 64, 128, 256, 320]),
        # 128 64 32 16 8 4
        ([128] * 3, [1.0] * 3, ["111", *["222"] * 5], ["333"] * 6, [32, 64, 128, 256, 320, 320]),
        # slices wait until pixels of 0.75 mm are 3 mm long: 80x96x32, 40x48x32, 20x24x32, 10x12x16, 5x6x8, 5x6x4
        ([80, 96, 32], [0.75, 0.75, 3.0], ["111", "221", "221", "222", "222", "112"],
         ["331", "331", "333", "333", "333", "333"], [32, 64, 128, 256, 320, 320]),
        # exactly twice as long waits for one halving; 48 24 12 6 is halved no further, 6 being less than 8
        ([48] * 3, [1.0, 1.0, 2.0], ["111", "221", "222", "222", "112"], ["331", *["333"] * 4],
         [32, 64, 128, 256, 320]),
        # less than twice does not
        ([32] * 3, [1.0, 1.0, 1.9], ["111", "222", "222", "222"], ["333"] * 4, [32, 64, 128, 256]),
        # 112 56 28 14 7; 144 72 36 18 9: 9 is odd
        ([112, 144, 16], [1.0] * 3, ["111", "222", "222", "221", "221"], ["333"] * 5, [32, 64, 128, 256, 320]),
        # rows can't be halved below 4: slices then, far longer, are with kernels of 3
        ([16] * 3, [1.0, 1.0, 9.0], ["111", "221", "221", "112", "112"], ["331", "331", "331", "333", "333"],
         [32, 64, 128, 256, 320]),
    ],
)  # fmt: skip
def test_topology_is_nnunets(patch, spacing, strides, kernels, filters):
    made = topology(patch, spacing)
    assert ["".join(map(str, stage)) for stage in made["strides"]] == strides
    assert ["".join(map(str, stage)) for stage in made["kernels"]] == kernels
    assert made["filters"] == filters


@pytest.mark.parametrize(
    ("patch", "spacing", "strides", "kernels"),
    [
        ([64] * 3, [1.0] * 3, ["222"] * 4, ["333"] * 4),
        # pixels of 0.75 mm are halved first, slices of 3 mm later
        ([80, 96, 32], [0.75, 0.75, 3.0], ["221", "221", "222", "222", "112"], ["331", *["333"] * 4]),
        # 16 8 4: without the finest stage two would be left
        ([16] * 3, [1.0] * 3, ["111", "222", "222"], ["333"] * 3),
    ],
)
def test_on_a_cpu_nnunets_second_stage_is_the_finest(patch, spacing, strides, kernels):
    made = topology(patch, spacing, "cpu")
    assert ["".join(map(str, stage)) for stage in made["strides"]] == strides
    assert ["".join(map(str, stage)) for stage in made["kernels"]] == kernels
    assert made["filters"] == [32, 64, 128, 256, 320][: len(strides)]


def test_the_reason_of_the_topology_states_its_numbers():
    reasons = [
        decide(evidence(machine=machine), NAME, spacing=[0.75, 0.75, 3.0])["topology_3d"].reason
        for machine in (CPU, GPU)
    ]
    assert "80 x 96 x 32 voxels of 0.75 x 0.75 x 3 mm are halved to 5 x 6 x 4: " in reasons[0]
    assert "On a CPU the finest stage has 40 x 48 x 32 voxels" in reasons[0]
    assert "On a CPU" not in reasons[1]


@pytest.mark.parametrize("machine", [CPU, GPU])
def test_what_is_compared_is_decided_as_for_refsam3d(machine):
    facts = evidence(machine=machine, **CUBIC)
    own, other = values(facts, NAME), values(facts, "refsam3d")
    same = (
        "patch",
        "spacing",
        "epochs",
        "foreground_share",
        "augmentation",
        "overlap",
        "model_selection",
        "protocol",
    )
    assert {name: own[name] for name in same} == {name: other[name] for name in same}
    expected = {
        "batch_size": 2, "learning_rate": 0.003, "weight_decay": 0.01, "poly_power": 0.9, "ce_weight": 1.0,
        "dice_weight": 1.0,
    }  # fmt: skip
    assert {name: own[name] for name in expected} == expected
    assert "not searched in 3-D" in decide(facts, NAME)["learning_rate"].reason
    assert not {"backbone", "weights", "encoder_training", "token_size", "referring_share"} & set(own)


def test_a_patch_is_no_longer_than_a_small_case_needs():
    hippocampus = {"spacings": ((1.0, 1.0, 1.0),) * 10, "shapes": ((35, 50, 36),) * 10}
    assert values(evidence(**hippocampus), "refsam3d")["patch"] == [56, 40, 40], (
        "on a CPU tokens have 8 voxels, too"
    )
    assert values(evidence(machine=GPU, **hippocampus), "refsam3d")["patch"] == [64, 48, 48]
    decision = decide(evidence(**hippocampus), NAME)["patch"]
    assert decision.value == [56, 40, 40]  # rows run A-P, columns R-L
    assert "What a median case fills of the 64 x 48 x 48 voxels" in decision.reason
    assert plan("dynunet_3d.patch=[24,40,16]").value("patch", NAME) == [24, 40, 16]
    with pytest.raises(UserFault, match="three multiples of 8 voxels"):
        plan("dynunet_3d.patch=[24,40,20]")


def test_footprint_of_a_small_network():
    kept = footprint([8, 8, 4], SMALL)
    assert kept.kept_values == 2 * 8 * 8 * 4 * 10 + 4 * 4 * 4 * 4 * 10 + 4 * 2 * 2 * 2 * 4
    encoder = 9 * 2 * (1 + 2) + 9 * 4 * (2 + 4) + 27 * 4 * (4 + 4)
    decoder = 9 * 3 * 2 * 2 + 4 * 2 * 4 + 27 * 3 * 4 * 4 + 8 * 4 * 4
    assert kept.parameters_m == pytest.approx((encoder + decoder) / 1e6)


def test_memory_of_a_patch():
    kept = Footprint(kept_values=1e9, parameters_m=0)
    # 4 bytes a value and a quarter on top; 6 copies of 4 bytes for each of 3 maps of a million voxels
    one = patch_gb(kept, supervised_voxels=1_000_000, num_classes=2, mixed_precision=False)
    assert one == pytest.approx(5 + 0.072)
    half = patch_gb(kept, supervised_voxels=1_000_000, num_classes=2, mixed_precision=True)
    assert half == pytest.approx(2.5 + 0.072)


@pytest.mark.parametrize(
    ("patch", "spacing", "voxels", "measured_gb"),
    [
        ([48] * 3, [1.0] * 3, 48**3 + 24**3, 0.220),
        ([64, 64, 16], [0.75, 0.75, 3.0], (64**2 + 32**2 + 16**2) * 16 + 8**3, 0.192),
    ],
)
def test_memory_per_patch_is_near_what_was_measured(patch, spacing, voxels, measured_gb):
    kept = footprint(patch, topology(patch, spacing))
    one = patch_gb(kept, supervised_voxels=voxels, num_classes=2, mixed_precision=False)
    assert 0.9 < one / measured_gb < 1.2


def test_less_memory_shortens_batch_and_patch():
    batches, lengths = [], []
    for memory_gb in (40, 24, 12, 6, 4, 3, 1):
        machine = Machine(target="gpu", memory_gb=memory_gb, target_reason="x.", memory_reason="x.")
        decided = decide(evidence(machine=machine, **CUBIC), NAME)
        batches.append(decided["batch_size"].value)
        lengths.append(sum(decided["patch"].value))
    assert batches == [2, 2, 2, 1, 1, 1, 1]
    assert lengths[:4] == [3 * 128] * 4 and lengths == sorted(lengths, reverse=True)
    assert lengths[4] < 3 * 128 and decided["patch"].value == [16, 16, 16]
    assert "out of memory even so" in decided["patch"].reason
    assert "out of memory even with one patch" in decided["batch_size"].reason


COARSE = {
    "kernels": [[3, 3, 3]] * 4, "strides": [[1, 1, 1], [4, 4, 4], [4, 4, 4], [2, 2, 2]], "filters": [8] * 4,
}  # fmt: skip


WISH = f"topology_3d={json.dumps(COARSE, separators=(',', ':'))}"


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ("patch_3d=null", "patch_3d null: DynUNet3D trains on sub-volumes, .* leave dynunet_3d out of --networks"),
        ("spacing=null", "spacing null: DynUNet3D resamples"),
        ("augmentation=hsam", "DynUNet3D takes default, papers, none; override dynunet_3d.augmentation=default"),
        ("backbone=vit_b", "backbone: a decision of samed, .*while dynunet_3d is planned"),
        (f"patch=[48,64,64] {WISH}", r"patch \[48, 64, 64\]: .*DynUNet3D takes multiples of \[32, 32, 32\]"),
    ],
)  # fmt: skip
def test_contradictions_are_one_sentence(wish, sentence):
    with pytest.raises(UserFault, match=sentence):
        plan(*wish.split())
    made = plan(WISH, "patch=[64,32,32]")
    assert made.value("patch", NAME) == [64, 32, 32]
    with pytest.raises(UserFault, match="one of them at least twice"):
        plan(WISH, "patch=[32,32,32]")


def test_single_slices_are_refused():
    pictures = {
        "shapes": ((600, 800, 1),) * 10, "spacings": ((1.0, 1.0, 1.0),) * 10, "orientations": {"": 10},
        "file_format": "picture", "modality": "RGB", "image_range": (0.0, 255.0), "channels": ("red", "green", "blue"),
    }  # fmt: skip
    with pytest.raises(UserFault, match="planned as single slices; leave dynunet_3d out of --networks"):
        plan(networks=("samed", NAME), **pictures)


@pytest.mark.parametrize(
    "change",
    [
        {"filters": [8, 8]}, {"kernels": [[3, 3, 1]] * 2}, {"kernels": [[3, 3]] * 3}, {"kernels": [3, 3, 3]},
        {"kernels": [[2, 3, 3]] * 3}, {"strides": [[1, 1, 1], [2, 2, 4], [1, 1, 1]]},
        {"strides": [[1, 1, 1], [2, 2, 0], [2, 2, 2]]}, {"filters": [8, 8, 8.0]}, {"filters": 8}, {"more": []},
    ],
)  # fmt: skip
def test_wrong_topologies_are_refused(change):
    with pytest.raises(UserFault, match="topology_3d must be equally long lists"):
        make_override("topology_3d", SMALL | change)
    make_override("topology_3d", SMALL)


@pytest.fixture(scope="module")
def files():
    """The bundles of the baseline and of what it is compared with, of one plan."""
    record = plan(networks=(NAME, "refsam3d", "dynunet"), **CUBIC).to_json()
    return {network: bundle_files(record, {}, network) for network in (NAME, "refsam3d", "dynunet")}


def config(files, network, name):
    return json.loads(files[network][f"configs/{name}.json"])


def test_its_bundle_differs_from_refsam3ds_in_the_network_and_its_loss(files):
    own, other = (config(files, network, "train") for network in (NAME, "refsam3d"))
    for key in (
        "patch",
        "spacing",
        "preprocessing",
        "inferer",
        "batch_size",
        "epochs",
        "iterations_per_epoch",
        "seed",
    ):
        assert own[key] == other[key], key
    for key in ("dataset", "augmentation", "sampler", "dataloader"):
        assert own["train"][key] == other["train"][key], key
    assert own["validate"] == other["validate"]
    assert own["loss"] == config(files, "dynunet", "train")["loss"]
    assert (own["loss"]["_target_"], own["loss"]["weight_mode"]) == (
        "monai.losses.DeepSupervisionLoss",
        "exp",
    )
    assert other["loss"]["_target_"] == "pgsam_monai.training.losses.RequestLoss"
    topology = own["network_def"]["strides"], own["network_def"]["filters"]
    assert topology == ([[2, 2, 2]] * 4, [32, 64, 128, 256])


def test_its_papers_speak_of_no_sam_and_no_texts(files):
    readme = files[NAME]["docs/README.md"]
    assert (
        "A baseline: MONAI's DynUNet with nnU-Net's 3-D topology" in readme
        and "Asking in words" not in readme
    )
    assert "configs/texts.json" not in files[NAME]
    metadata = config(files, NAME, "metadata")
    assert not {"segment-anything", "peft", "open_clip_torch"} & set(metadata["required_packages_version"])
    image = metadata["network_data_format"]["inputs"]["image"]
    assert (image["spatial_shape"], image["is_patch_data"]) == ([64, 64, 64], True)
