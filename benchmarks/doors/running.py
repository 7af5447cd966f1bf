"""A server of ours in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600


@contextmanager
def running(words: Sequence[str], *, health: str, log: Path, threads: int | None = None) -> Iterator[str]:
    """The address of `pgsam WORDS`; it is stopped at the end.

    Args:
        words: the command's, without a port.
        health: path that answers once the server is up.
        log: file of what it prints.
        threads: of the processor; None: as the environment has it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    own = {"PYTHONPATH": str(REPOSITORY)}  # this checkout, whatever an environment has installed
    own |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    command = [sys.executable, "-m", "pgsam_monai.commands.main", *words, "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: is_up(f"{address}/{health}"), 180, f"the server isn't up, see {log},")
        yield address
    finally:
        server.terminate()
        server.wait(60)


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Ends the program with a sentence if it doesn't come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{otherwise} within {seconds:.0f} s")
        time.sleep(0.5)
