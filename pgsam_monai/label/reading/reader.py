"""Reads images in another process, so that what a damaged file does to a library is done to that one.

ITK, HDF5 and the like are written in C: a header made for it ends the process that reads it. The process is kept, so an
image costs one copy of its voxels.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgsam_monai.base.cases import NIFTI_SUFFIXES, Paths, as_paths, suffix_among
from pgsam_monai.base.volume import ReadError, Volume, read_image, read_label

LONGEST_S = 300
"""to read one image"""
LONGEST_LINE = 1 << 20
POPULATE = getattr(mmap, "MAP_POPULATE", 0)
"""Linux then finds all pages at once, which is faster than one by one."""


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
    dtype, shape = np.dtype(answer["dtype"]), tuple(answer["shape"])
    try:
        shared = mmap.mmap(memory, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_SHARED | POPULATE)
    finally:
        os.close(memory)
    return np.frombuffer(shared, dtype).reshape(shape).T


reader = Reader()
"""of this process"""


def read_image_safely(files: Paths) -> Volume:
    """As `base.volume.read_image`; in another process, except for NIfTI, whose reader is Python's own."""
    return read_image(files) if _is_nifti(files) else reader.read_image(files)


def read_label_safely(files: Paths) -> Volume:
    """As `base.volume.read_label`, likewise."""
    return read_label(files) if _is_nifti(files) else reader.read_label(files)


def _is_nifti(files: Paths) -> bool:
    return all(suffix_among(file.name, NIFTI_SUFFIXES) for file in as_paths(files))
