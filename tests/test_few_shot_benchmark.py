"""The arithmetic of benchmarks/few_shot_curves.py; its processes are tested with the curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import few_shot_curves
from pgsam_monai.evaluation.few_shot_results import Row


@pytest.mark.parametrize("step_s, trials", [(0.01, 4), (2.0, 3)])
def test_a_steps_cost_is_free_of_start_up_and_long_enough(step_s, trials, monkeypatch):
    steps = []

    def trial(bundle, work, count):
        steps.append(count)
        return 7.0 + step_s * count

    monkeypatch.setattr(few_shot_curves, "trial", trial)
    assert few_shot_curves.seconds_per_step(Path("b"), Path("w")) == pytest.approx(step_s)
    assert len(steps) == trials
    assert (steps[-1] - few_shot_curves.SHORT_STEPS) * step_s >= few_shot_curves.TRIAL_CPU_S


def test_the_table_gives_mean_and_standard_deviation():
    def row(network, cases, seed, dice):
        return Row(
            network=network, cases=cases, seed=seed, dice=dice, dice_by_class={}, steps=40, wall_s=90.0,
            cpu_s=60.0, resumed=False,
        )  # fmt: skip

    rows = {"samed": [row("samed", 1, 0, 0.4), row("samed", 1, 1, 0.6), row("samed", 3, 0, 0.7)], "pgsam": []}
    rows["pgsam"] = [row("pgsam", 3, 0, 0.8)]
    assert few_shot_curves.table(rows).splitlines() == [
        "| network | steps | CPU min a run | 1 case | 3 cases |",
        "|---|---|---|---|---|",
        "| samed | 40 | 1.00 | 0.500 ± 0.141 | 0.700 ± 0.000 |",
        "| pgsam | 40 | 1.00 |  | 0.800 ± 0.000 |",
    ]
