"""Whatever a plan says, a bundle's configs hold no expression, component or reference but their templates' own."""

from __future__ import annotations

import json

import pytest
from plan_evidence import evidence

from preprocess.bundle.emit import bundle_files
from preprocess.networks import NETWORK_RULES
from preprocess.plan.overrides import parse_overrides
from preprocess.plan.plan import make_plan

CANARY = "$__import__('os').system('touch CANARY')"
NAMES = [
    "background",
    CANARY,
    "%train",
    "_target_",
    "a::b",
    "@labels",
    "{{seed}}",
    "<script>alert(1)</script>|x\ny",
]
HEADER = {
    "name": "abdomen", "layout": "paired", "file_format": "volume", "channels": ["%CT"], "num_cases": 10,
    "skipped": [{"case": "<b>", "reason": "$1"}],
}  # fmt: skip


def configs(network, *, folder, names, weights=None):
    wishes = [f"label_names={json.dumps(names)}", "labels=[0,1,2,3,4,5,6,7]", "class_frequencies=null"]
    wishes += [f"{network}.weights={weights}"] if "weights" in NETWORK_RULES[network] and weights else []
    plan = make_plan(
        evidence(),
        dataset=HEADER | {"folder": folder},
        networks=(network,),
        overrides=parse_overrides(wishes),
    )
    splits = {"schema_version": 1, "seed": 1, "few_shot": None, "cases": {}, "folds": [], "test": []}
    return bundle_files(plan.to_json(), splits, network)


def syntax(content, at=""):
    """(place, string) of all strings that MONAI evaluates, looks up or builds."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key.startswith("_") and key.endswith("_"):
                yield at, f"{key}={value}"
            yield from syntax(value, f"{at}/{key}")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from syntax(value, f"{at}/{number}")
    elif isinstance(content, str) and content[:1] in ("$", "@", "%"):
        yield at, content


@pytest.mark.parametrize("network", list(NETWORK_RULES))
def test_strings_of_a_plan_are_no_syntax(network):
    plain = configs(network, folder="/data", names=["background", *"abcdefg"], weights="sam_vit_b")
    odd = configs(network, folder=CANARY, names=NAMES, weights=CANARY)
    for name in ("configs/train.json", "configs/inference.json", "configs/evaluate.json"):
        known = {text for _, text in syntax(json.loads(plain[name]))}
        found = {text for _, text in syntax(json.loads(odd[name]))}
        assert found - known == {"_target_=pgsam_monai.base.config_values.from_json"}
        assert "CANARY" in odd[name] and "$__import__" not in odd[name]


@pytest.mark.parametrize("network", ["samed", "refsam3d"])
def test_they_come_out_of_the_configs_as_they_are(network):
    from monai.bundle import ConfigParser

    files = configs(network, folder=CANARY, names=NAMES)
    parser = ConfigParser(
        json.loads(files["configs/train.json"]) | json.loads(files["configs/evaluate.json"])
    )
    assert parser.get_parsed_content("dataset_dir") == CANARY
    assert list(parser.get_parsed_content("label_values")) == NAMES[1:]


def test_metadata_is_looked_up_nowhere():
    metadata = json.loads(configs("samed", folder="/data", names=NAMES)["configs/metadata.json"])
    assert not [text for _, text in syntax(metadata) if "=" not in text]


def test_the_readme_shows_names_as_text():
    readme = configs("pgsam", folder="/data", names=NAMES)["docs/README.md"]
    assert "<script>" not in readme and "&lt;script>alert(1)&lt;/script>/x y" in readme
    assert "&lt;b>" in readme
