"""From labelled studies to a planned bundle: the list of cases, and the planner in a process of its own.

Commands alone know the planner's package, so that training runs without it; here, too, it is only a command.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.files import write_text
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.own_bundles import BUNDLES, DATASETS, PLANS, REPORT, WEIGHTS
from pgsam_monai.label.training.segment_names import BACKGROUND
from pgsam_monai.label.training.studies import Study

logger = logging.getLogger(__name__)

PLANNER = "preprocess.commands.main"
FEWEST = 2
"""studies, one of which validates; the planner asks for as many"""
ON_OUR_WEIGHTS = ("samed", "hsam", "medsa")
NETWORKS = (*ON_OUR_WEIGHTS, "unet", "dynunet", "dynunet_3d")
"""Those for which nothing is fetched: on the backbone of our own weights, or without pretrained ones."""
BACKBONE = "vit_tiny"
"""of our own weights"""
LAST_LINES = 3
"""of the planner, in the sentence that says why it failed"""


def held_labels(studies: Sequence[Study], labels: Mapping[str, int]) -> dict[str, int]:
    """The structures that at least one study's label holds; the others are named in the log.

    Raises:
        RequestFault: too few studies.
    """
    if len(studies) < FEWEST:
        raise RequestFault(
            f"Planning needs {FEWEST} studies with a final label, better 5 or more, and there is {len(studies)}; label "
            "another one.",
            status=422,
        )
    present = set().union(*(study.label.classes for study in studies))
    for name in (name for name, value in labels.items() if value not in present):
        logger.warning(
            "'%s' is in no label yet: the bundle is planned without it; train %s again once it was labelled.",
            name, WEIGHTS,
        )  # fmt: skip
    return {name: value for name, value in labels.items() if value in present}


def write_dataset(file: Path, studies: Sequence[Study], labels: Mapping[str, int]) -> None:
    """The list of cases, a MONAI datalist, as the planner reads it."""
    names = {"0": BACKGROUND, **{str(value): name for name, value in labels.items()}}
    content = {"labels": names, "training": [study.case for study in studies]}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(content, indent=2, ensure_ascii=False))


def plan_bundle(app_dir: Path, name: str, network: str) -> Path:
    """Plan the data set that `write_dataset` has listed, and write its bundle.

    Args:
        app_dir: folder of the data sets, plans and bundles.
        name: of the data set.
        network: of `NETWORKS`.

    Returns:
        The bundle.

    Raises:
        RequestFault: the planner refuses the data set; its own words.
    """
    words = [
        sys.executable, "-m", PLANNER, str(app_dir / DATASETS / f"{name}.json"), "--layout", "datalist", "--name", name,
        "--networks", network, "--plans_dir", str(app_dir / PLANS), "--bundles_dir", str(app_dir / BUNDLES),
    ]  # fmt: skip
    if network in ON_OUR_WEIGHTS:
        words += ["--backbone", BACKBONE]
    said = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as planner:
        for line in filter(None, map(str.rstrip, planner.stdout)):
            said.append(line)
            logger.info("%s", line)
    if planner.returncode:
        reason = " ".join(map(str.strip, said[-LAST_LINES:])) or f"it ended with status {planner.returncode}"
        raise RequestFault(f"The labelled studies can't be planned: {reason}", status=422)
    report = app_dir / PLANS / name / REPORT
    logger.info(
        "The plan's report, every decision with its reason: %s; at /plans/%s of the server.", report, name
    )
    return app_dir / BUNDLES / f"{network}_{name}"
