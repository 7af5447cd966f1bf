"""A file is there whole or not at all, whoever fails, is killed or writes at the same time."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pgsam_monai.base.files import DAY_S, HOST, remove_remains, scratch, whole, write_text

KILLED_WRITER = """
import os, signal, sys
from pgsam_monai.base.files import whole
with whole(sys.argv[1]) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_text_is_written_as_utf_8_into_a_folder_that_is_made(tmp_path):
    file = tmp_path / "a/b/words.txt"
    assert write_text(file, "größer\n") == file and file.read_bytes() == "größer\n".encode()
    assert list(file.parent.iterdir()) == [file]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    file = tmp_path / "plan.json"
    write_text(file, "old")
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(file)], timeout=60)
    assert done.returncode == -signal.SIGKILL and file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_remains(tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "plan.json"
    write_text(file, "old")
    with pytest.raises(OSError, match="disk full"), whole(file) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == "old"


def test_remains_of_the_living_stay(tmp_path):
    with whole(tmp_path / "plan.json") as partial:
        partial.write_text("half")
        remove_remains(tmp_path)
    assert (tmp_path / "plan.json").read_text() == "half"


def age(path, seconds):
    time_s = time.time() - seconds
    os.utime(path, (time_s, time_s))


@pytest.mark.parametrize(
    "name",
    [
        ".plan_json.0.{host}-999999.partial",
        ".case_01_0000.999999.partial.png",  # as an older version named it
        ".[a] b.nii.gz.140.999999.partial",
        ".newline\n.7.999999.partial",
        ".scratch.3.{host}-999999.partial/",
    ],
)
def test_writing_sweeps_what_the_dead_left_in_that_folder(tmp_path, name):
    left = tmp_path / name.format(host=HOST)
    left.mkdir() if name.endswith("/") else left.write_text("half")
    write_text(tmp_path / "other.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_what_lives_or_may_live_elsewhere_stays(tmp_path):
    names = (
        f".a.0.{HOST}-{os.getppid()}.partial", ".b.0.0123abcd-999999.partial", ".partial", ".x.partial", "c.9.partial",
        ".hidden",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).write_text("half")
    remove_remains(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    age(tmp_path / ".b.0.0123abcd-999999.partial", 2 * DAY_S)
    remove_remains(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {".b.0.0123abcd-999999.partial"}


def test_a_number_that_was_given_anew_is_no_living_writer(tmp_path):
    left = tmp_path / f".plan.0.{HOST}-{os.getpid()}.partial"
    left.write_text("of who had our number before, say in a container")
    age(left, 30 * DAY_S)
    remove_remains(tmp_path)
    assert not left.exists()


def test_a_scratch_folder_is_gone_whatever_happens(tmp_path):
    with pytest.raises(KeyboardInterrupt), scratch(tmp_path / "made") as folder:
        (folder / "half.nii.gz").write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize("length", [200, 246, 255])
def test_names_as_long_as_they_can_be(tmp_path, length):
    file = tmp_path / ("x" * (length - 4) + ".txt")
    assert write_text(file, "text").read_text() == "text"


def test_threads_that_write_the_same_file_do_not_mix(tmp_path):
    file, both = tmp_path / "plan.json", threading.Barrier(2)

    def write(letter):
        with whole(file) as partial:
            both.wait()
            partial.write_text(letter * 1000)
            both.wait()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_text() in ("a" * 1000, "b" * 1000) and list(tmp_path.iterdir()) == [file]
