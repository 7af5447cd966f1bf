import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_reused_without_page_faults():
    """In a process of its own, since the allocator's settings last."""
    code = """
import resource, torch
from pgsam_monai.training.preparing import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3): torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults(); assert keep_freed_memory(); faults(); print(first, faults())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, after = map(int, out.split())
    assert after < before / 5
