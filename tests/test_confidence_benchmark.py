"""benchmarks/confidence.py: its arithmetic, and that it predicts what a calibrated bundle expects."""

from __future__ import annotations

import json
import math
import sys

import pytest
from dataset_builders import write_nnunet
from untrained import plan_untrained

from benchmarks import confidence
from pgsam_monai.bundle import Bundle


def found(structure, expected, dice, stated=0.1):
    return confidence.Found(case="a", structure=structure, expected=expected, stated=stated, dice=dice)


def test_the_table():
    rows = [
        found("liver", 0.6, 0.5), found("liver", 0.7, 0.9), found("liver", 0.9, 0.8), found("liver", None, 0.4),
        found("aorta", 0.8, math.nan),
    ]  # fmt: skip
    lines = confidence.table(rows, ["liver", "aorta"]).splitlines()
    assert lines[2] == "| liver | 3 | 1 | 0.733 | 0.733 | +0.50 | 0.133 | 0.100 | 0.133 |"
    assert lines[3] == "| aorta | 0 | 1 | | | | | | |"
    assert lines[4].startswith("| all | 3 | 2 | 0.733 | 0.733 | +0.50 |")


@pytest.mark.parametrize("how", ["part", "cases", "folders"])
def test_it_holds_expected_against_true_dice(tmp_path, monkeypatch, capsys, how):
    data = write_nnunet(tmp_path / "Dataset001_Pair", cases=4, shape=(12, 10, 4))
    folder = plan_untrained(data, tmp_path, "samed")
    labels = [[value] for value in Bundle(folder).decisions["labels"]]
    line = {"map": "line", "points": [[0.2, 0.1], [0.9, 0.8]], "error": 0.07, "cases": 12}
    content = {
        "schema_version": 1, "labels": labels, "calibrated_on": "12 cases",
        "structures": [{"name": name, **line} for name in Bundle(folder).names[1:]],
    }  # fmt: skip
    (folder / "configs/confidence.json").write_text(json.dumps(content))
    names = json.loads((folder / "configs/splits.json").read_text())["folds"][0]["validation"]
    chosen = {
        "part": ["--part", "validation"],
        "cases": ["--cases", ",".join(names)],
        "folders": ["--images", str(data / "imagesTr"), "--labels", str(data / "labelsTr")],
    }[how]
    monkeypatch.setattr(
        sys, "argv", ["confidence.py", str(folder), *chosen, "--device", "cpu", "--json", str(tmp_path / "j")]
    )
    confidence.main()
    out = capsys.readouterr().out
    assert "Expected Dice is calibrated on 12 cases." in out and "| all |" in out
    rows = json.loads((tmp_path / "j").read_text())
    assert len(rows) == 2 * (4 if how == "folders" else len(names))
    assert all((row["expected"] is None) == math.isnan(row["dice"]) for row in rows)
    assert any(row["stated"] == 0.07 and 0.1 <= row["expected"] <= 0.8 for row in rows)


def test_without_calibration_it_says_so(tmp_path, monkeypatch):
    folder = plan_untrained(
        write_nnunet(tmp_path / "Dataset001_Pair", cases=4, shape=(12, 10, 4)), tmp_path, "unet"
    )
    monkeypatch.setattr(sys, "argv", ["confidence.py", str(folder), "--part", "validation"])
    with pytest.raises(SystemExit, match="expects no Dice of anything; calibrate"):
        confidence.main()
