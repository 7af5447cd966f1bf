"""Bundles that a server made itself, from labels that were saved on it: where they lie in its app folder."""

from __future__ import annotations

import itertools
from pathlib import Path

WEIGHTS = "drawn_tiny"
"""They answer clicks and boxes until a bundle was trained; what they are called is the trainer's name, too."""
BUNDLES, PLANS, DATASETS = "bundles", "plans", "datasets"
"""folders of the app folder: bundles, their plans with reports, and lists of what was labelled"""
STUDIES = "studies"
"""what planning calls the first set of labelled studies; later ones are studies_2, …"""
REPORT = "report.html"


def own_bundles(app_dir: str | Path) -> dict[str, Path]:
    """Those that are trained, by name."""
    found = sorted((Path(app_dir) / BUNDLES).glob("*/models/model.pt"))
    return {file.parents[1].name: file.parents[1] for file in found}


def reports(app_dir: str | Path) -> dict[str, Path]:
    """The pages that show the plans, by what planning calls the studies."""
    return {file.parent.name: file for file in sorted((Path(app_dir) / PLANS).glob(f"*/{REPORT}"))}


def next_name(app_dir: str | Path) -> str:
    """What planning is to call the next set: no trained bundle is planned anew, for it is in service."""
    taken = own_bundles(app_dir)
    names = (STUDIES if number == 1 else f"{STUDIES}_{number}" for number in itertools.count(1))
    return next(name for name in names if not any(bundle.endswith(f"_{name}") for bundle in taken))
