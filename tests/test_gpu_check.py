"""benchmarks/gpu_check.py: rows come as they are known, and what fails, hangs or dies is one of them."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from benchmarks.gpu import bundles, steps
from benchmarks.gpu.alone import run_alone
from benchmarks.gpu.networks import SMALL
from benchmarks.gpu.table import Table


def test_the_table_is_written_row_by_row(tmp_path, capsys):
    table = Table(tmp_path / "new" / "table.md")
    table.add("samed", "forward|fp32", "1 ms\nfor 2", 0.4)
    assert table.file.read_text() == capsys.readouterr().out
    assert table.file.read_text().splitlines()[-1] == "| samed | forward/fp32 | 1 ms for 2 | 0 |"


def fail(report):
    report("first", "1")
    raise ValueError("no  such\nthing")


def hang(report):
    report("first", "1")
    time.sleep(60)


def die(report):
    report("first", "1")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("work", "last"),
    [
        (fail, ("failed", "ValueError: no such thing")), (hang, ("stopped", "not done in 1 s")),
        (die, ("died", "exit status -9")), (lambda report: report("first", "1"), ("first", "1")),
    ],
)  # fmt: skip
def test_however_a_step_ends_its_rows_are_kept(work, last):
    rows = list(run_alone(work, limit_s=1 if work is hang else 20))
    assert rows[0] == ("first", "1") and rows[-1] == last


def test_a_network_is_tried_and_compiled():
    where = steps.Where(device=torch.device("cpu"), size=SMALL, turns=1, backend="eager")
    rows = {}
    steps.try_network(rows.__setitem__, where, "unet")
    steps.try_compiled(rows.__setitem__, where, "unet")
    assert rows["reads per forward, loss and backward"] == "0"
    assert "training step, auto" in rows and rows["forward, eager"].endswith("names kept")


def test_both_forms_of_the_deformable_convolution_agree():
    rows = {}
    where = steps.Where(device=torch.device("cpu"), size=SMALL, turns=1, backend="eager")
    steps.try_deformable(rows.__setitem__, where)
    assert float(rows["they differ by"].split()[0]) < 1e-4


def test_a_command_that_fails_or_hangs_says_so():
    with pytest.raises(bundles.Failed, match="exit status 3: oh"):
        bundles.run("-c", "import sys; print('oh', file=sys.stderr); sys.exit(3)", limit_s=20)
    with pytest.raises(bundles.Failed, match="not done in 1 s"):
        bundles.run("-c", "import time; time.sleep(60)", limit_s=1)
