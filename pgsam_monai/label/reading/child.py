"""The process that reads images for the server: `python -m pgsam_monai.label.reading.child DESCRIPTOR`.

For each line of JSON that comes over its socket it answers with one, and sends the voxels in memory without a name.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from typing import Any

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import ReadError, Volume, read_image, read_label

READERS = {"image": read_image, "label": read_label}


def serve(connection: socket.socket) -> None:
    """Answer until the other side is gone."""
    for line in connection.makefile("rb"):
        asked = json.loads(line)
        try:
            volume = READERS[asked["kind"]](asked["files"])
        except ReadError as fault:
            _say(connection, {"file": fault.file, "fault": fault.reason})
        except (UserFault, MemoryError) as fault:
            _say(connection, {"file": asked["files"][0], "fault": str(fault) or "it doesn't fit into memory"})
        else:
            _send(connection, volume)
            del volume


def _send(connection: socket.socket, volume: Volume) -> None:
    voxels = np.ascontiguousarray(volume.voxels.T)  # as it mostly lies in memory: i varies fastest
    memory = _memory()
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(voxels.data)
        answer = {
            "shape": voxels.shape, "dtype": voxels.dtype.str, "affine": volume.affine.tolist(),
            "spacing": volume.spacing, "notes": volume.notes,
        }  # fmt: skip
        _say(connection, answer, memory)
    finally:
        os.close(memory)


def _memory() -> int:
    """A file that has no name and, on Linux, lies in memory."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("voxels")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _say(connection: socket.socket, answer: dict[str, Any], *descriptors: int) -> None:
    line = json.dumps(answer).encode() + b"\n"
    sent = socket.send_fds(connection, [line], list(descriptors))
    connection.sendall(line[sent:])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
