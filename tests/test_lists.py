"""Lists that are written out by hand hold what there is."""

from __future__ import annotations

import json
import pydoc

import pytest
from registry import COMMITTED, NETWORKS, ROOT

from preprocess.networks.declared import FOLDER, capabilities
from preprocess.recipes import recipe_names


def test_every_folder_of_a_network_is_registered():
    folders = {file.parent.name for file in FOLDER.glob("*/network.json")}
    assert folders == set(NETWORKS) and len(NETWORKS) == len(set(NETWORKS))


@pytest.mark.parametrize("network", NETWORKS)
def test_planner_and_runtime_name_a_network_alike(network):
    target = json.loads((FOLDER / network / "network.json").read_text())["_target_"]
    built = pydoc.locate(target)
    assert target.startswith(f"pgsam_monai.networks.{network}.")
    assert (built.name, built.title) == (network, capabilities(network).title)


def test_make_bundles_writes_the_bundles_that_are_committed():
    lines = (ROOT / ".gitignore").read_text().splitlines()
    kept = {
        line.removeprefix("!/bundles/").rstrip("/") for line in lines if line.startswith("!/bundles/")
    } - {"README.md", "drawn_tiny"}  # which no plan makes
    assert kept == set(COMMITTED) <= set(recipe_names())
    assert all((ROOT / "bundles" / name / "configs/train.json").is_file() for name in COMMITTED)
