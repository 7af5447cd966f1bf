"""Freed memory goes back to the system."""

import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from pgsam_monai.base.memory import hand_back_freed_memory
def resident(): return psutil.Process().memory_info().rss
blocks = [bytearray(60_000) for _ in range(2000)]  # below what glibc maps one by one
kept = bytearray(60_000)  # above all of them
del blocks
before = resident()
hand_back_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_what_is_freed_below_something_kept_goes_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100e6
