"""The baselines' decisions against answers worked out by hand."""

from importlib import import_module

import pytest
from plan_evidence import GPU, decide, evidence, values
from registry import SLICE_BASELINES, WITH_SAM

from pgsam_monai.base.errors import UserFault
from preprocess.networks import NETWORK_RULES
from preprocess.networks.dynunet.rules import choose_topology
from preprocess.plan.overrides import parse_overrides
from preprocess.plan.plan import make_plan
from preprocess.rules import Machine
from preprocess.rules.footprint import Footprint, fixed_gb, image_gb, largest_batch
from preprocess.rules.memory import image_gb as vit_image_gb

WITHOUT_SAM = [network for network in SLICE_BASELINES if network not in WITH_SAM]
HEADER = {
    "name": "x", "folder": "/x", "layout": "paired", "file_format": "volume", "channels": ["CT"], "num_cases": 10,
    "skipped": [],
}  # fmt: skip


def plan(*wishes, networks):
    return make_plan(evidence(), dataset=HEADER, networks=networks, overrides=parse_overrides(wishes))


@pytest.mark.parametrize(
    ("size", "filters"),
    [
        (32, [32, 64, 128, 256]),  # 32 16 8 4
        (224, [32, 64, 128, 256, 512, 512]),  # 224 112 56 28 14 7; below 8 there is no halving
        (240, [32, 64, 128, 256, 512]),  # 240 120 60 30 15; 15 is odd
        (512, [32, 64, 128, 256, 512, 512, 512, 512]),  # ... 8 4
        (1024, [32, 64, 128, 256, 512, 512, 512, 512]),  # 8 stages at most: down to 8
    ],
)
def test_topology_is_nnunets(size, filters):
    value = choose_topology(evidence(), {"image_size": size, "target": "gpu"}).value
    assert value["filters"] == filters
    assert value["kernels"] == [3] * len(filters)
    assert value["strides"] == [1] + [2] * (len(filters) - 1)


@pytest.mark.parametrize(
    ("size", "strides"), [(224, [2] * 5), (16, [1, 2, 2])]  # 16 8 4: without the finest stage two would be left
)  # fmt: skip
def test_on_a_cpu_nnunets_second_stage_is_the_finest(size, strides):
    decision = choose_topology(evidence(), {"image_size": size, "target": "cpu"})
    assert decision.value["strides"] == strides and decision.value["filters"][0] == 32
    assert ("On a CPU the finest stage has 112 pixels a side" in decision.reason) == (size == 224)


def test_topology_follows_an_overridden_size():
    made = plan("image_size=512", networks=("dynunet",))
    assert made.value("topology", "dynunet")["strides"] == [2] * 7  # without the finest of eight stages
    assert "512 pixels are halved 7 times, to 4" in made.configurations["dynunet"]["topology"].reason


@pytest.mark.parametrize("network", WITHOUT_SAM)
def test_what_belongs_to_sam_is_not_decided(network):
    decided = values(evidence(machine=GPU), network)
    assert not {"backbone", "weights", "encoder_training", "rank", "pixel_mean", "pixel_std"} & set(decided)
    assert (decided["ce_weight"], decided["dice_weight"]) == (1.0, 1.0)
    assert ("topology" in decided) == (network == "dynunet")


@pytest.mark.parametrize(
    "machine", [GPU, Machine(target="cpu", memory_gb=16, target_reason="x.", memory_reason="x.")]
)
@pytest.mark.parametrize("network", SLICE_BASELINES)
def test_what_is_compared_is_decided_as_for_samed(network, machine):
    own, samed = (values(evidence(machine=machine), name) for name in (network, "samed"))
    for name in (
        "image_size",
        "fit",
        "epochs",
        "augmentation",
        "foreground_share",
        "model_selection",
        "protocol",
    ):
        assert own[name] == samed[name], name


@pytest.mark.parametrize("network", ["autosam", "samdecoder"])
def test_a_frozen_encoder_needs_pretrained_weights(network):
    assert values(evidence(machine=GPU), network)["encoder_training"] == "frozen"
    without = decide(evidence(), network, weights=None)["encoder_training"]
    assert without.value == "full"
    assert "no baseline" in without.reason and "not the network as published" in without.reason
    assert "rank" not in values(evidence(), network)


def test_learning_rates():
    def rate(network, **machine):
        return values(evidence(**machine), network)["learning_rate"]

    assert [rate(network) for network in ("dynunet", "unet", "swinunetr", "unetr")] == [
        0.003,
        0.003,
        0.002,
        0.001,
    ]
    assert rate("autosam") == rate("samdecoder") == rate("samed") == 0.003  # vit_tiny, from random weights
    assert rate("autosam", machine=GPU) == 0.001


@pytest.mark.parametrize("network", WITHOUT_SAM)
def test_a_backbone_is_refused_where_there_is_none(network):
    with pytest.raises(
        UserFault, match=f"backbone: a decision of samed, .*while {network} is planned; .*leave it out"
    ):
        plan("backbone=vit_b", networks=(network,))
    assert plan("backbone=vit_b", networks=(network, "samed")).value("backbone", "samed") == "vit_b"


@pytest.mark.parametrize(
    ("network", "wish", "sentence"),
    [
        (
            "swinunetr",
            "image_size=240",
            "SwinUNETR takes multiples of 32 from 64 on; override image_size=256",
        ),
        ("unet", "image_size=16", "UNet takes multiples of 16 from 32 on"),
        (
            "dynunet",
            'topology={"kernels":[3,3,3,3],"strides":[1,4,4,4],"filters":[8,8,8,8]}',
            "image_size 224: DynUNet takes multiples of 64 from 128 on",
        ),
    ],
)
def test_sizes_that_a_network_cannot_take_are_refused_by_the_plan(network, wish, sentence):
    with pytest.raises(UserFault, match=sentence):
        plan(wish, networks=(network,))


@pytest.mark.parametrize(
    "topology", ['{"kernels":[3,3,3]}', '{"kernels":[3,3],"strides":[1,2],"filters":[8,8]}', "[1,2]",
                 '{"kernels":[3,3,3],"strides":[8,2,2],"filters":[8,8,8]}',
                 '{"kernels":[2,3,3],"strides":[1,2,2],"filters":[8,8,8]}'],
)  # fmt: skip
def test_wrong_topologies_are_refused(topology):
    with pytest.raises(UserFault, match="topology must be equally long lists"):
        parse_overrides(f"topology={topology}")


def footprint_of(network, decided):
    return import_module(f"preprocess.networks.{network}.rules").footprint(decided)


def test_footprint_of_a_small_dynunet():
    topology = {"kernels": [3, 3, 3], "strides": [1, 2, 2], "filters": [2, 4, 4]}
    kept = footprint_of("dynunet", {"image_size": 8, "topology": topology})
    assert kept.kept_values == 2 * 64 * 10 + 4 * 16 * 10 + 4 * 4 * 4
    encoder = 9 * (2 * (1 + 2) + 4 * (2 + 4) + 4 * (4 + 4))
    decoder = 9 * 3 * (2 * 2 + 4 * 4) + 4 * (2 * 4 + 4 * 4)
    assert kept.parameters_m == pytest.approx((encoder + decoder) / 1e6)


@pytest.mark.parametrize(
    ("network", "measured_gb"), [("dynunet", 0.167), ("unet", 0.069), ("swinunetr", 0.195), ("unetr", 0.291)]
)
def test_memory_per_image_is_near_what_was_measured(network, measured_gb):
    decided = {
        "image_size": 224,
        "topology": choose_topology(None, {"image_size": 224, "target": "gpu"}).value,
    }
    one = image_gb(footprint_of(network, decided), image_size=224, num_classes=4, mixed_precision=False)
    assert 0.9 < one / measured_gb < 1.3


def test_batches_are_cut_to_memory():
    kept = Footprint(kept_values=1e6, parameters_m=100)
    assert fixed_gb(kept) == pytest.approx(1.5 + 1.6)
    assert largest_batch(kept, 0.5, memory_gb=10) == 10  # 8.5 - 3.1 GB
    assert largest_batch(kept, 0.5, memory_gb=3) == 0
    small = Machine(target="cpu", memory_gb=3, target_reason="x.", memory_reason="x.")
    tight = decide(evidence(machine=small), "swinunetr")
    assert tight["batch_size"].value == 4 and "memory is the bound" in tight["batch_size"].reason
    assert tight["inference_batch_size"].value < 16
    assert values(evidence(), "dynunet")["batch_size"] == 12
    assert values(evidence(machine=GPU), "unet")["batch_size"] == 24


def test_a_frozen_encoder_keeps_little():
    one = {"image_size": 224, "num_classes": 4, "mixed_precision": False}
    frozen = vit_image_gb("vit_b", encoder_training="frozen", **one)
    assert 0.0206 < frozen < 0.05  # AutoSAM's measured CPU peak, 0.0206 GB per image, stays below
    assert frozen < vit_image_gb("vit_b", **one) / 5
    assert set(NETWORK_RULES["autosam"]) == set(NETWORK_RULES["samed"]) - {
        "rank",
        "decoder_layers",
        "resolution_weights",
    }
