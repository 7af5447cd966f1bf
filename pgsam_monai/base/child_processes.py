"""Commands run in processes of their own: what each one cost, and never two of them in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgsam_monai.base.errors import UserFault


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process took, its own children (data loading workers) included."""

    wall_s: float
    cpu_s: float


def run_logged(command: Sequence[str], *, log: Path, threads: int | None, held: int) -> Cost:
    """Run a command to its end; what it prints is appended to `log`.

    Args:
        command: program and arguments.
        log: file of its output.
        threads: OMP_NUM_THREADS of the process; None leaves that to the environment.
        held: file descriptor of `hold`, which the process inherits.

    Raises:
        UserFault: it ended with another exit status than 0.
    """
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            pass_fds=(held,),
        )  # fmt: skip
        # Of this child alone; getrusage would add up whatever other children end meanwhile.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserFault(f"exit status {process.returncode}: {_last_line(log)} (the whole output: {log})")
    return Cost(wall_s=time.monotonic() - started, cpu_s=usage.ru_utime + usage.ru_stime)


@contextmanager
def hold(folder: Path) -> Iterator[int]:
    """Keep a folder to this process and to those that inherit the descriptor which is given.

    A child that outlives its killed parent still holds the folder; whoever comes next waits for it, saying so.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"An earlier command is still at work in '{folder}'; waiting for it.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _last_line(log: Path) -> str:
    lines = re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace").strip())
    return lines[-1].strip() or "no message"
