"""Metrics leave out what nobody looked for or labelled."""

import csv
import math

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from monai.transforms import CopyItemsd

from pgsam_monai.metrics import (
    LabelDice,
    LabelDiceHandler,
    evaluate_case,
    evaluate_files,
    format_table,
    summarise,
    write_metrics,
)

LABELS = {"spleen": 1, "liver": [2, 3]}


def line(*values):
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def measured(prediction, reference, **options):
    return evaluate_case(line(*prediction), line(*reference), labels=LABELS, spacing=(1, 1, 1), **options)


@pytest.mark.parametrize("protocol", ["mm", "papers"])
def test_a_structure_that_was_not_looked_for_has_no_score(protocol):
    spleen, liver = measured([1, 1, 2, 2, 0], [1, 0, 0, 0, 0], labelled=[1], protocol=protocol).classes
    assert (spleen.outcome, spleen.dice) == ("found", pytest.approx(2 / 3))
    assert liver.outcome == "unlabelled"
    assert all(math.isnan(value) for value in (liver.dice, liver.hd95, liver.nsd, liver.reference_ml))
    assert liver.prediction_ml == pytest.approx(0.002)


def test_a_class_of_several_values_is_known_where_all_were_looked_for():
    assert measured([2], [2], labelled=[2]).classes[1].outcome == "unlabelled"
    assert measured([2], [2], labelled=[2, 3]).classes[1].dice == 1


def test_the_reference_of_another_data_set_has_its_own_values():
    reference = {"spleen": 7, "liver": 8}
    rows = measured([1, 0], [7, 8], reference_labels=reference, labelled=[7]).classes
    assert [row.outcome for row in rows] == ["found", "unlabelled"]


def test_voxels_that_nobody_labelled_count_for_nobody():
    spleen, liver = measured([1, 1, 1, 2, 2, 0], [1, 1, 0, 9, 9, 9], ignore=9).classes
    assert spleen.dice == pytest.approx(4 / 5)
    assert liver.outcome == "absent"


def test_means_say_how_many_cases_they_have(tmp_path):
    rows = [measured([1, 2], [1, 2], name="a"), measured([1, 0], [1, 0], labelled=[1], name="b")]
    summary = summarise(rows)
    assert (summary.score("spleen", "dice").n, summary.score("liver", "dice").n) == (2, 1)
    assert summary.score("liver", "dice").mean == 1
    lines = [line.split() for line in format_table(summary).splitlines()]
    assert lines[1][-4:] == ["cases", "missed", "spurious", "unlabelled"]
    assert lines[4][-4:] == ["1", "0", "0", "1"]
    table, _ = write_metrics(rows, summary, tmp_path)
    assert [row["outcome"] for row in csv.DictReader(table.open())] == [
        "found",
        "found",
        "found",
        "unlabelled",
    ]


def test_files_say_it_case_by_case(tmp_path):
    from pgsam_monai.voxels.saving import save_label_map

    for name, values in (("p", [1, 2, 2]), ("r", [1, 0, 9])):
        save_label_map(line(*values), tmp_path, name, "x.dcm", affine=np.eye(4))
    pair = (tmp_path / "p.nii.gz", tmp_path / "r.nii.gz")
    first, second = evaluate_files(
        [pair, pair], labels=LABELS, names=["a", "b"], labelled=[[1], None], ignore=9, workers=1
    )
    assert [row.outcome for row in first.classes] == ["found", "unlabelled"]
    assert [row.outcome for row in second.classes] == ["found", "spurious"]
    assert second.classes[1].prediction_ml == pytest.approx(0.001)


KNOWN = torch.tensor([[True, True, False], [True, True, True]])


def test_dice_in_validation_by_hand():
    prediction = torch.tensor([[[1, 1, 2, 0]], [[1, 2, 2, 2]]])
    label = torch.tensor([[[1, 0, 0, 0]], [[1, 2, 0, 255]]])
    values = LabelDice(2)(prediction, label, known=KNOWN)
    torch.testing.assert_close(values, torch.tensor([[2 / 3, torch.nan], [1, 2 / 3]]), equal_nan=True)


def test_known_classes_reach_the_metric_of_an_engine():
    batch = {
        "image": torch.tensor([[[1, 1, 2, 0]], [[1, 2, 2, 2]]]),
        "label": torch.tensor([[[1, 0, 0, 0]], [[1, 2, 0, 255]]]),
        "known": KNOWN,
    }
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[batch],
        network=torch.nn.Identity(),
        postprocessing=CopyItemsd(keys="known", names="looked_for"),
        key_val_metric={
            "dice": LabelDiceHandler(2, output_transform=from_engine(["pred", "label", "looked_for"]))
        },
    )
    evaluator.run()
    assert evaluator.state.metrics["dice"] == pytest.approx(((2 / 3 + 1) / 2 + 2 / 3) / 2)
