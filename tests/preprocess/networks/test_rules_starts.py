"""Networks on vit_tiny from our own weights: planned as if from random numbers, but for where they start."""

from __future__ import annotations

import json

import pytest
from drawn_stand_in import NAME, put_stand_in
from plan_evidence import GPU, decide, evidence

from preprocess.bundle.emit import bundle_files
from preprocess.networks import NETWORK_RULES
from preprocess.networks.starts import STARTS
from preprocess.plan.overrides import make_override
from preprocess.plan.plan import make_plan
from preprocess.rules import sam, starts

HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip
SAME = ("encoder_training", "learning_rate", "weight_decay", "warmup_iterations", "batch_size", "epochs",
        "iterations_per_epoch", "gradient_norm", "pixel_mean", "pixel_std", "prompt_encoder_training",
        "image_size", "backbone")  # fmt: skip


def plan(network, *wishes, **changes):
    made = [make_override(name, value) for name, value in wishes]
    return make_plan(evidence(**changes), dataset=HEADER, networks=[network], overrides=made)


def configs(network, *wishes, **changes):
    files = bundle_files(plan(network, *wishes, **changes).to_json(), {}, network)
    return {name: json.loads(files[f"configs/{name}.json"]) for name in ("train", "inference")}, files


def test_the_table_names_every_network_that_plans_vit_tiny():
    takers = {
        name
        for name, rules in NETWORK_RULES.items()
        if "weights" in rules and "vit_tiny" in rules["backbone"].kind.options
    }
    assert takers == set(STARTS)


@pytest.mark.parametrize("network", STARTS)
def test_unasked_they_are_planned_where_the_table_says_so(network):
    weights = plan(network).configurations[network]["weights"]
    if STARTS[network]:
        assert weights.value == NAME and "ship with this package" in weights.reason
    else:
        assert weights.value is None
        assert weights.reason == "No weights were published for vit_tiny; it starts from random numbers."


def test_a_network_whose_start_was_measured_is_planned_with_them():
    (small, large) = ({"backbone": "vit_tiny"}, {"backbone": "vit_b"})
    figure = "Dice 0.6, from random numbers 0.5"
    decided = sam.choose_weights(evidence(), small, starts=figure)
    assert decided.value == NAME and f"({figure}; more in" in decided.reason
    assert sam.choose_weights(evidence(), large, starts=figure).value == "sam_vit_b"
    assert sam.sam_rules(starts=figure)["weights"](evidence(), small).value == NAME
    assert sam.frozen_rules(starts=figure)["weights"](evidence(), small).value == NAME
    assert sam.sam_rules(starts=None)["weights"](evidence(), small).value is None


@pytest.mark.parametrize("network", STARTS)
@pytest.mark.parametrize("machine", [None, GPU])
def test_from_them_all_is_trained_as_from_random_numbers(network, machine):
    changes = {"machine": machine} if machine else {}
    small = ("backbone", "vit_tiny")
    ours = plan(network, small, ("weights", NAME), **changes)
    random = plan(network, small, ("weights", None), **changes)
    own, other = ({**made.decisions, **made.configurations[network]} for made in (ours, random))
    for name in (name for name in SAME if name in own):
        assert own[name].value == other[name].value, name
    assert own["encoder_training"].value == "full" and own["learning_rate"].value == 0.003
    assert "only a start" in own["encoder_training"].reason and "only a start" in own["learning_rate"].reason
    assert own["pixel_mean"].value == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("network", STARTS)
def test_reasons_are_sentences(network):
    for name, decision in decide(evidence(), network, backbone="vit_tiny", weights=NAME).items():
        assert decision.reason[0].isupper() or decision.reason[0].isdigit(), name
        assert decision.reason.endswith("."), name


def test_pretrained_features_are_not_summed_with_what_nobody_has_learnt():
    thin = {"spacings": ((0.75, 0.75, 1.5),) * 10, "machine": GPU}
    small = ("backbone", "vit_tiny")
    own = plan("medsa", small, ("weights", None), **thin).configurations["medsa"]
    assert own["depth_fusion"].value == "add"
    own = plan("medsa", small, ("weights", NAME), **thin).configurations["medsa"]
    assert own["depth_fusion"].value == "gated" and own["stack_depth"].value == 4
    assert "its prompt encoder included" in own["prompt_encoder_training"].reason


def test_other_weights_are_adapted_as_before():
    for weights in (NAME, "sam_vit_b", "/data/mine.pth", None):
        expected = weights in (NAME, None)
        assert starts.trains_everything({"weights": weights}) is expected
    own = plan("samed", ("backbone", "vit_tiny"), ("weights", "/data/mine.pth")).configurations["samed"]
    assert own["encoder_training"].value == "lora"


@pytest.mark.parametrize("network", STARTS)
def test_only_med_sa_from_these_weights_is_asked_with_maps(network):
    (ours, files), (random, _) = configs(network, ("weights", NAME)), configs(network, ("weights", None))
    for name in ours:
        asked = ours[name]["network_def"].pop("prompt_maps", None)
        assert asked == (True if network == "medsa" else None)
        assert "prompt_maps" not in json.dumps(random[name])
    assert ours["train"]["weights"] == NAME and ours["inference"]["weights"] is None
    assert "large_files.yml" not in files


@pytest.mark.parametrize("network", STARTS)
def test_its_config_builds_a_network_that_starts_from_them(network, monkeypatch, tmp_path):
    import torch
    from monai.bundle import ConfigParser

    from pgsam_monai.weights.files import load_weights

    given = load_weights(put_stand_in(monkeypatch, tmp_path))
    made, files = configs(network, ("weights", NAME), ("image_size", 32))
    for name, text in files.items():
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).write_text(text)
    parser = ConfigParser(made["train"])
    parser["bundle_root"] = str(tmp_path / "bundle")
    built = parser.get_parsed_content("network_def")
    key = "image_encoder.neck.0.weight"
    assert torch.equal(built.state_dict()[key], given[key].float())
    assert getattr(built, "prompt_maps", None) is (True if network == "medsa" else None)
    assert all(parameter.requires_grad for parameter in built.image_encoder.parameters())
