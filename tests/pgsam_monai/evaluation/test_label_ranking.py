"""Which labels to look at first: hand-made disagreements in a small data set."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny

from pgsam_monai.base.errors import UserFault
from pgsam_monai.commands import main as cli
from pgsam_monai.evaluation.label_ranking import FOLDER, OUT_OF_FOLD, rank_labels, ranking
from pgsam_monai.metrics.cases import CaseMetrics, ClassMetrics


def metrics(label, outcome, dice, *, ml=(10.0, 10.0), hd95=1.0):
    return ClassMetrics(
        label=label, value=1, outcome=outcome, dice=dice, hd95=hd95, nsd=1.0, prediction_ml=ml[0],
        reference_ml=ml[1],
    )  # fmt: skip


def case(name, *classes):
    return CaseMetrics(name=name, protocol="mm", tolerance_mm=2.0, classes=classes)


def order(*cases):
    return [(each.case, each.worst.structure, round(each.worst.excess, 3)) for each in ranking(cases)]


def test_what_is_low_for_its_structure_comes_first():
    cases = [
        case(f"good_{n}", metrics("liver", "found", 0.95), metrics("vein", "found", 0.5 + n / 100))
        for n in range(3)
    ]
    odd = case("odd", metrics("liver", "found", 0.7), metrics("vein", "found", 0.5))
    (first, *_) = order(*cases, odd)
    assert first == ("odd", "liver", 0.25)  # a vein is always hard


def test_a_missing_structure_counts_by_its_volume():
    good = [case(f"good_{n}", metrics("spleen", "found", 0.9)) for n in range(3)]
    gone = case("gone", metrics("spleen", "missed", 0.0, ml=(0.0, 8.0)))
    stray = case("stray", metrics("spleen", "spurious", 0.0, ml=(0.5, 0.0)))
    without = case("without", metrics("spleen", "absent", float("nan"), ml=(0.0, 0.0)))
    ranked = ranking([*good, stray, without, gone])
    assert [each.case for each in ranked[:2]] == ["gone", "stray"]
    assert ranked[0].worst.excess == pytest.approx(0.9 * 0.8) and ranked[1].worst.excess == pytest.approx(
        0.9 * 0.05
    )
    assert (ranked[-1].worst.dice, ranked[-1].worst.excess) == (None, 0)


def test_what_nobody_looked_for_is_no_disagreement():
    nan = float("nan")
    good = [case(f"good_{n}", metrics("spleen", "found", 0.9)) for n in range(3)]
    unknown = case("unknown", metrics("spleen", "unlabelled", nan, ml=(9.0, nan), hd95=nan))
    last = ranking([unknown, *good])[-1].worst
    assert (last.excess, last.usual_dice, last.label_ml, last.prediction_ml) == (0, 0.9, None, 9.0)


def test_of_equals_the_farther_surface_comes_first():
    cases = [
        case(name, metrics("a", "found", 0.9, hd95=mm)) for name, mm in (("x", 2.0), ("y", 9.0), ("z", 2.0))
    ]
    assert [each.case for each in ranking(cases)] == ["y", "x", "z"]


SHAPE = (20, 18, 6)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A bundle whose second class is two values in the label files, and perfect predictions of four of five cases."""
    work = tmp_path_factory.mktemp("ranking")
    folder = write_nnunet(work / "Dataset001_Rank", cases=5, shape=SHAPE, values=(0, 4, 5, 9))
    bundle = plan_tiny(folder, work, "labels=[0,4,[5,9]]", 'label_names=["background","rind","core"]')
    for file in sorted((folder / "labelsTr").iterdir())[:4]:
        label = nib.load(file)
        voxels = np.asarray(label.dataobj).astype(np.uint8)
        voxels[voxels == 9] = 5
        (work / "predictions").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, label.affine), work / "predictions" / file.name)
    return bundle, work / "predictions"


def spoil(file):
    """The class core, which lies on slices 1 to 4, is gone from two of them."""
    label = nib.load(file)
    voxels = np.asarray(label.dataobj).copy()
    voxels[:, :, :3][voxels[:, :, :3] == 5] = 0
    nib.save(nib.Nifti1Image(voxels, label.affine), file)


def test_labels_of_a_bundle(planned, capsys):
    bundle, predictions = planned
    spoil(predictions / "case_3.nii.gz")
    cli.evaluate(str(bundle), rank_labels=True, predictions=str(predictions), cases=2)
    told = capsys.readouterr().out
    assert "1 of 5 training cases have no prediction in" in told and "4 training cases, those first" in told
    folder = bundle / FOLDER
    rows = list(csv.DictReader((folder / "rank_labels.csv").open()))
    assert (rows[0]["case"], rows[0]["structure"], rows[0]["picture"]) == (
        "case_3",
        "core",
        "pictures/01_case_3.png",
    )
    assert float(rows[0]["excess"]) > 0.2 and [float(row["excess"]) for row in rows[1:]] == [0, 0, 0]
    assert float(rows[0]["prediction_ml"]) < float(rows[0]["label_ml"])
    assert len(json.loads((folder / "rank_labels.json").read_text())["cases"]) == 4
    assert sorted(file.name for file in (folder / "pictures").glob("*.png"))[0] == "01_case_3.png"
    rank_labels(bundle, predictions=predictions, shown=1, say=print)  # pictures of a former ranking go
    assert [file.name for file in (folder / "pictures").glob("*.png")] == ["01_case_3.png"]


def test_what_cant_be_ranked_is_told(planned, tmp_path):
    bundle, predictions = planned
    with pytest.raises(
        UserFault, match=f"{OUT_OF_FOLD}' has no prediction of any training case; name a folder"
    ):
        rank_labels(bundle)
    with pytest.raises(UserFault, match="--cases must be at least 1, got 0"):
        rank_labels(bundle, predictions=predictions, shown=0)
    for flags, said in (
        ({"predictions": "x"}, "--predictions belongs to --rank_labels"),
        ({"rank_labels": True, "part": "test"}, "--part is not for --rank_labels"),
        ({"rank_labels": True, "device": "cpu"}, "--device is not for --rank_labels"),
        ({"rank_labels": True, "interaction": True}, "measure different things"),
        ({"rank_labels": True, "epochs": 3}, "--epochs is no option here"),
    ):
        with pytest.raises((UserFault, SystemExit), match=said):
            cli.evaluate(str(bundle), **flags)
