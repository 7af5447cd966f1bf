"""A file is there whole or not at all, whoever fails, is killed or writes at the same time."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pgsam_monai.base.files import remove_remains, whole, write_text

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


def test_remains_of_a_killed_process_of_our_number_are_not_written_into(tmp_path):
    """They may be a second name of a file in service."""
    file, serving = tmp_path / "previous.pt", tmp_path / "model.pt"
    serving.write_text("serving")
    remains = tmp_path / f".previous.pt.{threading.get_ident()}.{os.getpid()}.partial"
    os.link(serving, remains)
    write_text(file, "new")
    assert serving.read_text() == "serving" and file.read_text() == "new"


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
