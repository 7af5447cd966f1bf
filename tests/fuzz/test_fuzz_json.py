"""Any JSON file of a data set, a plan or a bundle, however damaged: a sentence, or a right result.

No string in it is run as code, and nothing is written but where it was asked for. A bundle's train.json and
inference.json are configs of MONAI, which are code wherever they begin a string with `$`; the others are data.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from dataset_builders import write_datalist, write_msd, write_nnunet
from fuzz.json_damage import damaged_json
from fuzz.planned import check_clean, fresh_monai, link_tree, run_command
from fuzz.tally import Tally, examples
from fuzz.workers import Worker, Wrong
from hypothesis import given
from tiny_bundle import TINY
from untrained import plan_untrained

from pgsam_monai.commands.main import main as pgsam
from preprocess.commands.main import main as pgsam_plan

NETWORK = "unet"
HOMES = ("data", "plans", "bundles", "out", "cwd", "pristine")
CLICKS = {
    "labels": {
        "organ1": {"positive": [[3, 4, 4]], "negative": [[1, 1, 4]]},
        "organ2": {"boxes": [[1, 8, 1, 8, 3, 4]]},
    },
    "space": "voxel",
}
SUMMARY = {
    "schema_version": 1,
    "runs": [{"run": "1", "weights_sha256": "0"}],
    "cases": [
        {
            "case": "case_9", "run": "1", "output": "case_9.nii.gz", "warnings": [], "seconds": 1.5,
            "structures": [{"structure": "organ1", "value": 1, "warnings": ["x"], "centroid_mm": [1.0, 2.0, 3.0],
                            "mean_intensity": [7.0]}],
        }
    ],
    "failed": [{"case": "case_8", "run": "1", "reason": "odd"}],
}  # fmt: skip
MARKUPS = {
    "markups": [
        {
            "type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm",
            "controlPoints": [{"label": "organ1-1", "position": [30.0, -20.0, 110.0], "description": ""}],
        }
    ]
}  # fmt: skip
PLAN = [*(word for wish in TINY for word in ("--override", wish)), "--override", "image_size=32", "--workers", "1",
        "--target", "cpu", "--plans_dir", "{root}/plans", "--bundles_dir", "{root}/bundles"]  # fmt: skip
AGAIN = [
    "--from_plan",
    "{root}/plans/small/plan.json",
    "--plans_dir",
    "{root}/plans",
    "--bundles_dir",
    "{root}/bundles",
]
PREDICT = ["predict", "{root}/bundles/unet_small", "{root}/data/Small/imagesTr/case_1_0000.nii.gz", "{root}/out",
           "--device", "cpu"]  # fmt: skip
EVALUATE = ["evaluate", "{root}/bundles/unet_small", "--device", "cpu"]
TRAIN = ["train", "{root}/bundles/unet_small", "--device", "cpu"]
SUMMARISED = [*PREDICT, "--summary"]
CLICKED = [word.replace("unet", "medsa") for word in PREDICT]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A file to damage, and the command that reads it."""

    file: str
    command: list[str]
    plan: bool = False
    """whether pgsam-plan runs, or pgsam"""
    is_code: bool = False
    """a MONAI config"""
    content: object = None
    """what the file holds, where it isn't planned"""


TARGETS = {
    "plan.json": Target(file="plans/small/plan.json", command=AGAIN, plan=True),
    "splits.json": Target(file="plans/small/splits.json", command=AGAIN, plan=True),
    "fingerprint.json": Target(file="plans/small/fingerprint.json", command=AGAIN, plan=True),
    "plan as written": Target(file="plans/small/.plan_as_written.json", command=AGAIN, plan=True),
    "dataset.json": Target(file="data/Small/dataset.json", command=["{root}/data/Small", *PLAN], plan=True),
    "Decathlon's dataset.json": Target(file="data/Task01_Msd/dataset.json", command=["{root}/data/Task01_Msd", *PLAN],
                                       plan=True),
    "datalist.json": Target(file="data/listed/datalist.json", command=["{root}/data/listed/datalist.json", *PLAN],
                            plan=True),
    "bundle metadata.json": Target(file="bundles/unet_small/configs/metadata.json", command=PREDICT),
    "bundle plan.json": Target(file="bundles/unet_small/configs/plan.json", command=PREDICT),
    "bundle inference.json": Target(file="bundles/unet_small/configs/inference.json", command=PREDICT, is_code=True),
    "bundle train.json": Target(file="bundles/unet_small/configs/train.json", command=TRAIN, is_code=True),
    "bundle evaluate.json": Target(file="bundles/unet_small/configs/evaluate.json", command=EVALUATE, is_code=True),
    "bundle splits.json": Target(file="bundles/unet_small/configs/splits.json", command=EVALUATE),
    "training_facts.json": Target(file="bundles/unet_small/configs/training_facts.json", command=SUMMARISED),
    "summary.json": Target(file="out/summary.json", content=SUMMARY, command=SUMMARISED),
    "label_map.json": Target(file="out/map.json", content={"classes": {"organ1": [1], "organ2": [2]}},
                             command=[*EVALUATE, "--dataset", "{root}/data/Small", "--map", "{root}/out/map.json"]),
    "clicks": Target(file="out/clicks.json", content=CLICKS, command=[*CLICKED, "--clicks", "{root}/out/clicks.json"]),
    "markups": Target(file="out/a.mrk.json", content=MARKUPS, command=[*CLICKED, "--clicks", "{root}/out/a.mrk.json"]),
}  # fmt: skip


def try_json(root: str, target: Target, content: bytes) -> str:
    """Lay the folders anew, with one file damaged, and run the command that reads it."""
    place = Path(root)
    for home in HOMES[:-1]:
        shutil.rmtree(place / home, ignore_errors=True)
    for home in ("data", "plans", "bundles"):
        link_tree(place / "pristine" / home, place / home)
    for home in ("out", "cwd"):
        (place / home).mkdir()
    os.chdir(place / "cwd")
    (place / target.file).unlink(missing_ok=True)
    (place / target.file).write_bytes(content)
    words = [word.replace("{root}", root) for word in target.command]
    try:
        with fresh_monai():
            run_command(pgsam_plan if target.plan else pgsam, words)
    finally:
        if not target.is_code:
            check_clean(place, HOMES)
    if target.command[0] == "predict" and not list((place / "out").glob("case_1*.nii.gz")):
        raise Wrong("no prediction and no fault")
    return ""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("json")
    (root / "pristine").mkdir()
    small = write_nnunet(root / "data/Small", cases=5)
    plan_untrained(small, root, NETWORK)
    plan_untrained(small, root, "medsa")
    write_msd(root / "data/Task01_Msd", cases=5)
    write_datalist(root / "data/listed", cases=4)
    for home in ("data", "plans", "bundles"):
        shutil.move(root / home, root / "pristine" / home)  # each example works on a copy where they were
    return root


@pytest.fixture(scope="module")
def worker():
    with Worker(try_json, longest_s=60) as worker:
        yield worker


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_json_file_is_told(name, root, worker):
    target, tally = TARGETS[name], Tally(f"JSON, {name}")
    content = target.content or json.loads((root / "pristine" / target.file).read_text())
    whole = worker(str(root), target, json.dumps(content).encode())
    assert whole.kind == "read", whole.story

    @examples(3)
    @given(damaged_json(content))
    def attempt(example):
        tally.count(worker(str(root), target, example.of(content)), example)

    attempt()
    tally.finish()
