"""Commands run in processes of their own, and what each one cost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pgsam_monai.base.errors import UserFault


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process took, its own children (data loading workers) included."""

    wall_s: float
    cpu_s: float


PARENT = "PGSAM_PARENT"
"""environment variable: the number of the process that `run_logged` was called in"""
WATCHED_S = 1.0
_running: set[int] = set()
"""numbers of the processes that `run_logged` waits for"""


def run_logged(
    command: Sequence[str], *, log: Path, threads: int | None, held: int, gpu: str | None = None
) -> Cost:
    """Run a command to its end; what it prints is appended to `log`.

    One of ours (`end_with_parent`) ends soon after this process was killed, where nobody can end it.

    Args:
        command: program and arguments.
        log: file of its output.
        threads: OMP_NUM_THREADS of the process; None leaves that to the environment.
        held: file descriptor of `locks.hold`, which the process inherits.
        gpu: CUDA_VISIBLE_DEVICES of the process; None leaves that to the environment.

    Raises:
        UserFault: it ended with another exit status than 0.
    """
    own = {PARENT: os.getpid(), "OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": gpu}
    environment = os.environ | {name: str(value) for name, value in own.items() if value is not None}
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            pass_fds=(held,),
        )  # fmt: skip
        _running.add(process.pid)
        try:
            # Of this child alone; getrusage would add up whatever other children end meanwhile.
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            _running.discard(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserFault(f"exit status {process.returncode}: {_last_line(log)} (the whole output: {log})")
    return Cost(wall_s=time.monotonic() - started, cpu_s=usage.ru_utime + usage.ru_stime)


def running_bytes() -> list[int]:
    """The memory that each process which `run_logged` waits for now takes, with its own children."""
    import psutil  # here, for planning starts without it

    taken = []
    for number in list(_running):
        with suppress(psutil.Error):
            family = [process := psutil.Process(number), *process.children(recursive=True)]
            taken.append(sum(one.memory_info().rss for one in family))
    return taken


def end_running() -> None:
    """Ask every process that a thread of this one waits for in `run_logged` to end (SIGTERM)."""
    for number in list(_running):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)


def end_with_parent() -> None:
    """In a command that `run_logged` runs, end as by SIGTERM when the process that waits for it is no more."""
    parent = os.environ.pop(PARENT, "")  # of this process alone, not of what it starts
    if parent.isdecimal():
        threading.Thread(target=_watch, args=[int(parent)], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCHED_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _last_line(log: Path) -> str:
    lines = re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace").strip())
    return lines[-1].strip() or "no message"
