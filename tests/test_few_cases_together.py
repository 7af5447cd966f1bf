"""benchmarks/few_cases_together.py: finished runs of several folders in one table and one figure."""

from __future__ import annotations

import json

import pytest

from benchmarks import few_cases_together
from pgsam_monai.base.errors import UserFault


def write_run(folder, curve, cases, seed, dice):
    run = folder / f"runs/{curve}/cases_{cases:03d}_seed_{seed}"
    run.mkdir(parents=True)
    row = {
        "network": "samed", "cases": cases, "seed": seed, "dice": dice, "dice_by_class": {"x": dice}, "steps": 4,
        "wall_s": 1.0, "cpu_s": 1.0, "resumed": False,
    }  # fmt: skip
    (run / "result.json").write_text(json.dumps(row))


def test_gains_are_of_pairs_of_equal_seeds(tmp_path, capsys, monkeypatch):
    for seed, (before, after) in enumerate([(0.4, 0.5), (0.5, 0.7)]):
        write_run(tmp_path / "a", "samed_random", 3, seed, before)
        write_run(tmp_path / "a", "samed_drawn_tiny", 3, seed, after)
    write_run(tmp_path / "a", "samed_drawn_tiny", 3, 2, 0.9)  # whose partner isn't finished
    write_run(tmp_path / "b", "hsam_lite_medsam", 1, 0, 0.25)
    (tmp_path / "a/runs/hsam_random").mkdir()
    words = [
        "few_cases_together",
        f"A={tmp_path / 'a'}",
        f"B={tmp_path / 'b'}",
        f"--figure={tmp_path / 'x.png'}",
    ]
    monkeypatch.setattr("sys.argv", words)
    few_cases_together.main()
    said = capsys.readouterr().out.splitlines()
    assert (
        said[0] == "| samed: data, training cases | random | drawn_tiny | lite_medsam | gain of each pair |"
    )
    assert said[2] == "| A, 3 | 0.450 ± 0.071 | 0.700 ± 0.200 |  | drawn_tiny +0.100, +0.200 |"
    assert "| B, 1 |  |  | 0.250 ± 0.000 |  |" in said
    assert said[-1] == str(tmp_path / "x.png") and (tmp_path / "x.png").stat().st_size > 5000


@pytest.mark.parametrize("entry", ["nowhere", "A=nowhere"])
def test_a_folder_without_runs_is_told(entry):
    with pytest.raises(UserFault, match="TITLE=FOLDER with finished runs"):
        few_cases_together.read(entry)
