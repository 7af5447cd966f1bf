import ast
import json

import pytest
from dataset_builders import write_msd
from tiny_bundle import plan_tiny

from pgsam_monai.base.capabilities import CLASS_TEXTS, METADATA_KEY, PATCHES, REQUESTS, SLICES, Capabilities
from preprocess.networks import NETWORK_RULES
from preprocess.networks.declared import FOLDER, capabilities


@pytest.mark.parametrize("network", NETWORK_RULES)
def test_every_network_declares_what_it_can_do(network):
    can = capabilities(network)
    assert can.network == network and can.title
    assert can.input in (SLICES, PATCHES) and can.texts in (CLASS_TEXTS, REQUESTS, None)
    assert bool(can.texts_switch) == bool(can.texts)
    assert (can.input == PATCHES) == ("patch" in NETWORK_RULES[network])
    assert can.stacks == ("stack_depth" in NETWORK_RULES[network])


def test_a_bundle_carries_what_its_network_can_do(tmp_path):
    bundle = plan_tiny(write_msd(tmp_path / "Task02_Heart", cases=5), tmp_path, networks="medsa")
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert Capabilities.from_json(metadata[METADATA_KEY]) == capabilities("medsa")
    assert metadata[METADATA_KEY]["title"] == "Med-SA" and metadata[METADATA_KEY]["prompts"]


@pytest.mark.parametrize("room", ["rules", "recipes", "plan", "bundle", "report"])
def test_a_network_is_named_in_its_own_folder_alone(room):
    """But for the default, SAMed, and H-SAM's augmentation, which any network of slices may take."""
    found = {
        (file.name, node.value)
        for file in (FOLDER.parent / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in NETWORK_RULES
    }
    assert found - {("plan.py", "samed"), ("training.py", "hsam"), ("transforms.py", "hsam")} == set()


@pytest.mark.parametrize("network", NETWORK_RULES)
def test_networks_share_rules_not_each_others(network):
    for file in (FOLDER / network).glob("*.py"):
        named = {
            node.module
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module.startswith("preprocess.networks.")
        }
        others = {name.split(".")[2] for name in named} - {"declared", "starts", network}
        assert others == set(), file
