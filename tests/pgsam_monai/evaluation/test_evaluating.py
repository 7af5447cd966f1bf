"""Tables and files of an evaluation: each protocol by its name, measured of its own label maps."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.evaluation.predictions import evaluate_predictions

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def write(path, *places):
    path.parent.mkdir(exist_ok=True)
    voxels = np.zeros((8, 8, 3), np.uint8)
    for place in places:
        voxels[place] = 1
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return str(path)


@pytest.fixture
def case(tmp_path):
    """A voxel in the reference, found by us one slice further, by them too, and once more two pixels beside."""
    write(tmp_path / "predictions/a.nii.gz", (3, 3, 1))
    label = write(tmp_path / "labels/a.nii.gz", (3, 3, 0))
    return {"name": "a", "image": "a.nii.gz", "label": label}


def measure(case, folder, protocol):
    evaluate_predictions([case], folder, labels={"spot": 1, "none": 2}, protocol=protocol)
    return json.loads((folder / "metrics.json").read_text())


def test_both_tables_are_of_their_own_label_maps(case, tmp_path, capsys):
    write(tmp_path / "predictions_papers/a.nii.gz", (3, 3, 0), (5, 3, 0))
    content = measure(case, tmp_path, "papers")
    (ours,), (theirs,) = content["cases"], content["papers"]["cases"]
    assert [each["dice"] for each in ours["classes"]] == [0, None]
    assert ours["classes"][0]["hd95"] == 4
    assert [each["dice"] for each in theirs["classes"]] == [pytest.approx(2 / 3), 0]
    assert theirs["classes"][0]["hd95"] == pytest.approx(np.percentile([0, 2, 0], 95))
    shown = capsys.readouterr().out
    assert "Protocol 'mm', 1 cases" in shown and "Protocol 'papers': their label maps" in shown
    with (tmp_path / "metrics_papers.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["spot", "none"]


def test_ours_alone(case, tmp_path):
    (tmp_path / "metrics_papers.csv").write_text("of an earlier measurement")
    content = measure(case, tmp_path, "mm")
    assert content["protocol"] == "mm" and "papers" not in content
    assert not (tmp_path / "metrics_papers.csv").exists()


def test_what_earlier_bundles_called_synapse_has_a_true_name(case, tmp_path):
    content = measure(case, tmp_path, "synapse")
    assert content["title"].startswith("The papers' measures of our label maps")
    assert (content["cases"][0]["classes"][0]["hd95"], content["hd95_unit"]) == (1, "voxels")


def test_a_bundle_that_makes_no_label_maps_of_theirs(case, tmp_path):
    with pytest.raises(
        UserFault, match="planned by an earlier version .* --from_plan, or give --protocol mm"
    ):
        measure(case, tmp_path, "papers")
