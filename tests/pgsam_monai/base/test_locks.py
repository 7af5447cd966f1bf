"""One command at a time in a folder: refused by name, waited for, free again when its process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgsam_monai.base.locks import FolderInUse, hold, keep

HOLDER = (
    "import sys\nfrom pgsam_monai.base.locks import keep\n"
    "keep(sys.argv[1], refusal='wait')\nprint('held', flush=True)\nsys.stdin.read()\n"
)


def _holder(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_second_is_refused_by_name_until_the_first_is_killed(tmp_path):
    folder = tmp_path / "new" / "models"
    first = _holder(folder)
    with pytest.raises(FolderInUse, match=rf"^Process {first.pid} is at work in '.*models'; wait\.$"):
        keep(folder, refusal="wait")
    with pytest.raises(FolderInUse), hold(folder, refusal="wait"):
        pass
    first.kill()
    first.wait()
    with hold(folder, refusal="wait"):
        assert (folder / ".lock").read_text() == str(os.getpid())


def test_by_another_path_it_is_the_same_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "models")
    (tmp_path / "models").mkdir()
    first = _holder(tmp_path / "models")
    with pytest.raises(FolderInUse), hold(tmp_path / "link", refusal="wait"):
        pass
    first.kill()
    first.wait()


def test_without_a_refusal_it_waits(tmp_path, capsys):
    first = _holder(tmp_path)
    first.stdin.close()  # which ends it
    with hold(tmp_path):
        first.wait()
    assert capsys.readouterr().out in (
        "",
        f"Process {first.pid} is at work in '{tmp_path}'; waiting for it.\n",
    )


def test_a_process_may_keep_a_folder_twice_and_its_forked_workers_do_not(tmp_path):
    keep(tmp_path, refusal="wait")
    keep(tmp_path, refusal="wait")
    child = os.fork()
    if child == 0:
        from pgsam_monai.base import locks

        os._exit(len(locks._held))
    assert os.waitpid(child, 0)[1] == 0


def test_nothing_is_left_and_who_waits_for_the_file_that_goes_takes_a_new_one(tmp_path):
    program = (
        "import sys\nfrom pgsam_monai.base.locks import hold\nprint('starts', flush=True)\n"
        "with hold(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with hold(tmp_path):
        command = [sys.executable, "-c", program, str(tmp_path)]
        waiting = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert waiting.stdout.readline() == b"starts\n"
        assert b"waiting for it" in waiting.stdout.readline()
    assert waiting.stdout.readline() == b"held\n"
    with pytest.raises(FolderInUse), hold(tmp_path, refusal="wait"):
        pass
    waiting.communicate()
    assert list(tmp_path.iterdir()) == []
