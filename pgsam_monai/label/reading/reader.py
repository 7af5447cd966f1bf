"""Reads images in another process, so that what a damaged file does to a library is done to that one.

ITK, HDF5 and the like are written in C: a header made for it ends the process that reads it. The process is kept, so an
image costs one copy of its voxels.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.volume import ReadError, Volume

LONGEST_S = 300
"""to read one image"""
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen
    connection: socket.socket


class Reader:
    """Reads one image after the other; a new process is started when there is none, or it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def read_image(self, files: Paths) -> Volume:
        """As `base.volume.read_image`.

        Raises:
            ReadError: likewise; or reading it has ended the process, or takes too long.
        """
        return self._read("image", files)

    def read_label(self, files: Paths) -> Volume:
        """As `base.volume.read_label`, with the same errors."""
        return self._read("label", files)

    def end(self) -> None:
        """End the process, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.connection.close()
            child.process.kill()
            child.process.wait()

    def _read(self, kind: str, files: Paths) -> Volume:
        paths = [str(file) for file in as_paths(files)]
        with self._lock:
            if self._child is None or self._child.process.poll() is not None:
                self.end()
                self._child = _start()
            try:
                answer, memory = _ask(self._child, {"kind": kind, "files": paths})
            except (OSError, ValueError) as error:
                self.end()
                raise ReadError(
                    paths[0], "it ended the program that read it, or took it too long; the file is damaged"
                ) from error
        if "fault" in answer:
            raise ReadError(answer["file"], answer["fault"])
        return Volume(
            voxels=_voxels(answer, memory), affine=np.array(answer["affine"]), spacing=tuple(answer["spacing"]),
            notes=tuple(answer["notes"]),
        )  # fmt: skip


def _start() -> _Child:
    ours, theirs = socket.socketpair()
    ours.settimeout(LONGEST_S)
    command = [sys.executable, "-m", "pgsam_monai.label.reading.child", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    return _Child(process, ours)


def _ask(child: _Child, question: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The answer, and the descriptor of the voxels."""
    child.connection.sendall(json.dumps(question).encode() + b"\n")
    line, memory = b"", None
    while not line.endswith(b"\n"):
        piece, descriptors, _, _ = socket.recv_fds(child.connection, LONGEST_LINE, 1)
        memory = descriptors[0] if descriptors else memory
        if not piece or len(line) > LONGEST_LINE:
            raise ConnectionError("the reader has ended")
        line += piece
    return json.loads(line), memory


def _voxels(answer: dict[str, Any], memory: int) -> np.ndarray:
    """(channels, i, j, k), in memory that is the caller's alone."""
    with os.fdopen(memory, "r+b") as file:
        return np.asarray(np.memmap(file, np.dtype(answer["dtype"]), "r+", shape=tuple(answer["shape"]))).T


reader = Reader()
"""of this process"""
