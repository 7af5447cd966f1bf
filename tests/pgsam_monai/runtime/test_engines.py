"""Engines by themselves."""

import subprocess
import sys

import numpy as np
import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.runtime.engines import OPENVINO, installed, open_network

FIRST_CALLS = """
import os, sys, threading
import numpy as np
from pgsam_monai.runtime.engines import open_network
run, together = open_network(sys.argv[1], "openvino", threads=2, workers=2), threading.Barrier(2)
image, same = np.full((1, 1, 64, 64), -1, np.float32), []
def call():
    together.wait()
    same.append((run([image])[0] == 0).all())
threads = [threading.Thread(target=call) for _ in range(2)]
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os._exit(0 if same == [True, True] else 1)
"""


@pytest.fixture
def network(tmp_path):
    """max(x, 0)."""
    openvino = pytest.importorskip("openvino")
    from openvino import opset13

    image = opset13.parameter([1, 1, 64, 64], np.float32)
    openvino.save_model(openvino.Model([opset13.relu(image)], [image], "relu"), tmp_path / "relu.xml")
    return tmp_path / "relu.xml"


def test_first_calls_of_two_threads_do_not_wait_for_each_other(network):
    """In a process of its own: one that hangs holds Python's lock, and hears nothing."""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", FIRST_CALLS, str(network)], check=True, timeout=60)


@pytest.mark.skipif(not installed(OPENVINO), reason="OpenVINO is not installed")
def test_a_file_that_is_no_network(tmp_path):
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(UserFault, match="OpenVINO can't read .*model.xml.*; export it again"):
        open_network(tmp_path / "model.xml", OPENVINO)
