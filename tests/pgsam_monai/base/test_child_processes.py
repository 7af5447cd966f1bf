"""Processes of their own: cost, failure, and a folder that only one of them has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pgsam_monai.base.child_processes import end_running, run_logged
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.locks import hold


def test_the_cost_is_that_of_the_process_and_failure_is_its_last_line(tmp_path):
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    with hold(tmp_path) as held:
        cost = run_logged([sys.executable, "-c", busy], log=tmp_path / "log", threads=1, held=held)
        assert 0.4 <= cost.cpu_s < 3 and cost.wall_s >= 0.4
        wrong = [sys.executable, "-c", "import sys; print('first'); sys.exit('no such thing')"]
        with pytest.raises(UserFault, match=r"exit status 1: no such thing \(the whole output: .*log\)"):
            run_logged(wrong, log=tmp_path / "log", threads=None, held=held)


def test_a_child_that_outlives_its_killed_parent_keeps_the_folder(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from pgsam_monai.base.child_processes import run_logged\nfrom pgsam_monai.base.locks import hold\n"
        "folder = Path(sys.argv[1])\n"
        'child = \'import time, pathlib; pathlib.Path("up").touch(); time.sleep(1.5); pathlib.Path("down").touch()\'\n'
        "with hold(folder) as held:\n"
        "    run_logged([sys.executable, '-c', child], log=folder / 'log', threads=1, held=held)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=tmp_path, env=environment)
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
        assert parent.poll() is None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    with hold(tmp_path):
        assert (tmp_path / "down").exists()


def test_a_command_of_ours_ends_when_its_parent_is_killed(tmp_path):
    ours = (
        "import time, pathlib\nfrom pgsam_monai.base.child_processes import end_with_parent\n"
        "from pgsam_monai.base.command_line import told\n"
        "with told('pgsam'):\n    end_with_parent()\n    pathlib.Path('up').touch()\n    time.sleep(60)\n"
    )
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from pgsam_monai.base.child_processes import run_logged\nfrom pgsam_monai.base.locks import hold\n"
        "with hold(Path()) as held:\n"
        "    run_logged([sys.executable, '-c', sys.argv[1]], log=Path('log'), threads=1, held=held)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, "-c", program, ours], cwd=tmp_path, env=environment)
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
        assert parent.poll() is None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    began = time.monotonic()
    with hold(tmp_path):  # the child had inherited it
        assert time.monotonic() - began < 30
    assert (tmp_path / "log").read_text() == "pgsam: ended by SIGTERM.\n"


def test_whoever_is_told_to_end_can_end_its_children(tmp_path):
    log, faults = tmp_path / "log", []

    def run(held: int) -> None:
        try:
            run_logged([sys.executable, "-c", "import time; time.sleep(60)"], log=log, threads=1, held=held)
        except UserFault as fault:
            faults.append(fault)

    with hold(tmp_path) as held:
        waiting = threading.Thread(target=run, args=[held])
        waiting.start()
        started = time.monotonic()
        while waiting.is_alive() and time.monotonic() - started < 10:
            end_running()
            time.sleep(0.05)
    assert "exit status -15" in str(faults[0])
