"""Partial labels from the data set to the table: planned, trained and measured as such."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny, run_bundle

from preprocess.plan.reading import read_plan, read_splits

TRAIN, PARTIAL = "pgsam_monai.training.partial", "hsam,refsam3d,unet"


def write_partial(folder):
    """Four cases with organ1, organ2 and a corner that nobody labelled; organ2 was looked for in the last two."""
    write_nnunet(folder, cases=4)
    listing = folder / "dataset.json"
    content = json.loads(listing.read_text())
    content["labels"] = {"background": 0, "organ1": 1, "organ2": 2, "ignore": 3}
    listing.write_text(json.dumps(content))
    for number, file in enumerate(sorted((folder / "labelsTr").iterdir())):
        image = nib.load(file)
        voxels = np.asanyarray(image.dataobj).copy()
        voxels[-2:, -2:] = 3
        if number < 2:
            voxels[voxels == 2] = 0
        nib.save(nib.Nifti1Image(voxels, image.affine), file)
    (folder.parent / "labelled.csv").write_text("case_1,organ1\ncase_2,organ1\n")
    return folder


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("partial")
    folder = write_partial(work / "data")
    options = {"labelled": str(work / "labelled.csv"), "networks": PARTIAL, "name": "part"}
    return plan_tiny(folder, work, "folds=2", **options).parent


def config(folder, network, name="train"):
    return json.loads((folder / f"{network}_part/configs/{name}.json").read_text())


def test_the_plan_says_so_and_keeps_it(planned):
    plan, _ = read_plan(planned.parent / "plans/part/plan.json")
    assert plan.dataset["looked_for"] == {"organ2": 2}
    assert plan.dataset["ignore"] == 3
    assert plan.value("labels") == [0, 1, 2]
    assert "organ2 in 2" in plan.decisions["labels"].reason
    cases = read_splits(planned.parent / "plans/part/splits.json").cases
    assert {name: entry.get("labelled") for name, entry in cases.items()} == {
        "case_1": [1], "case_2": [1], "case_3": None, "case_4": None,
    }  # fmt: skip
    report = (planned.parent / "plans/part/report.html").read_text()
    assert "where not all: organ2 2." in report
    assert "Voxels of value 3 were labelled by nobody" in report


def test_each_kind_of_bundle_trains_on_what_is_known(planned):
    hsam, refsam3d, unet = (config(planned, network) for network in PARTIAL.split(","))
    assert hsam["loss"]["_target_"] == unet["loss"]["_target_"] == f"{TRAIN}.PartialLoss"
    assert refsam3d["loss"]["loss"]["_target_"] == f"{TRAIN}.PartialLoss"
    prepared = [each["train"]["trainer"]["prepare_batch"] for each in (hsam, refsam3d, unet)]
    assert [each["_target_"] for each in prepared] == [f"{TRAIN}.PreparePartialBatch"] * 3
    given = {"label": "label"}
    assert [each["extra_keys"] for each in prepared] == [given, given | {"known": "known"}, {}]
    assert hsam["preprocessing"] == config(planned, "hsam", "inference")["preprocessing"]


def test_it_trains_and_is_measured_on_what_is_known(planned):
    """By patches and requests; by slices the merged data sets of test_merging.py."""
    bundle = planned / "refsam3d_part"
    run_bundle("training", bundle)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"))
    rows = list(csv.DictReader((bundle / "eval/validation/metrics.csv").open()))
    validated = {row["case"] for row in rows}
    unlabelled = {(row["case"], row["label"]) for row in rows if row["outcome"] == "unlabelled"}
    assert unlabelled == {(case, "organ2") for case in validated & {"case_1", "case_2"}}


def test_planned_again_it_still_knows(planned):
    from preprocess.commands.main import plan

    work = planned.parent
    before = (work / "plans/part/splits.json").read_text()
    plan(
        from_plan=str(work / "plans/part/plan.json"),
        plans_dir=str(work / "plans"),
        bundles_dir=str(work / "again"),
    )
    assert (work / "plans/part/splits.json").read_text() == before
    assert config(work / "again", "hsam") == config(planned, "hsam")
