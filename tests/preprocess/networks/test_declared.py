import json

import pytest
from dataset_builders import write_msd
from tiny_bundle import plan_tiny

from pgsam_monai.base.capabilities import CLASS_TEXTS, METADATA_KEY, PATCHES, REQUESTS, SLICES, Capabilities
from preprocess.networks import NETWORK_RULES
from preprocess.networks.declared import capabilities


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
