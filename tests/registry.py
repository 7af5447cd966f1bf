"""The networks and bundles that there are, for tests that go over all of them."""

from __future__ import annotations

import re
from pathlib import Path

from pgsam_monai.base.capabilities import SLICES
from preprocess.networks import NAMES, NETWORK_RULES
from preprocess.networks.declared import capabilities, settings

ROOT = Path(__file__).parents[1]
NETWORKS = NAMES
BASELINES = tuple(name for name in NAMES if settings(name).get("about", "").startswith("A baseline: "))
PAPERS = tuple(name for name in NAMES if name not in BASELINES and name != "samed")
"""the networks that papers add to SAMed"""

SLICE_BASELINES = tuple(name for name in BASELINES if capabilities(name).input == SLICES)
WITH_SAM = tuple(name for name in NAMES if "backbone" in NETWORK_RULES[name])
COMMITTED = tuple(
    re.search(r"^RECIPES := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), flags=re.M)[1]
    .replace("\\", " ")
    .split()
)
"""the bundles that are kept under version control, named as their recipes"""
