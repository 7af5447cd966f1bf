"""Tries things in a child: what aborts, hangs or takes memory there is told, and the tests live on."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgsam_monai.base.errors import UserFault

RIGHT = ("read", "refused")
LONGEST_S, MOST_MB = 10.0, 1500
_ADDRESS_SPACE = 12 << 30
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one example."""

    kind: str
    """"read" (a right result), "refused" (a sentence); else what went wrong"""
    story: str = ""
    """the sentence, or the traceback"""
    time_s: float = 0.0
    memory_mb: float = 0.0
    """of the child's peak, above what it had before"""


class Wrong(Exception):
    """A result that isn't right, found in the child."""


class Worker:
    """Calls `trying(*arguments)` in a forked child, one after the other; a child that dies or hangs is replaced.

    Where `trying` has a method `prepare`, that is called in each new child, without a limit of time.
    """

    def __init__(self, trying: Callable[..., str | None], *, longest_s: float = LONGEST_S) -> None:
        self._trying, self._longest_s, self._process = trying, longest_s, None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, *arguments: Any) -> Outcome:
        if self._process is None:
            self._start()
        began = time.monotonic()
        self._pipe.send(arguments)
        if not self._pipe.poll(self._longest_s):
            self._end()
            return Outcome(
                kind="too slow", story=f"no answer within {self._longest_s:.0f} s", time_s=self._longest_s
            )
        try:
            kind, story, memory_mb = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._process = None
            name = signal.Signals(-code).name if code and code < 0 else f"status {code}"
            return Outcome(kind="process died", story=f"ended by {name}")
        if memory_mb > MOST_MB and kind in RIGHT:
            kind, story = "too large", f"took {memory_mb:.0f} MB"
        return Outcome(kind=kind, story=story, time_s=time.monotonic() - began, memory_mb=memory_mb)

    def _start(self) -> None:
        self._pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=_serve, args=(theirs, self._pipe, self._trying))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            self._process.start()
        theirs.close()
        self._pipe.recv()  # it is prepared

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(pipe: Any, parents: Any, trying: Callable[..., str | None]) -> None:
    parents.close()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries' own messages
    getattr(trying, "prepare", lambda: None)()
    pipe.send("ready")
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            os._exit(0)
        before = _peak_mb(reset=True)
        kind, story = _tried(trying, arguments)
        pipe.send((kind, story, _peak_mb() - before))


def _tried(trying: Callable[..., str | None], arguments: tuple) -> tuple[str, str]:
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            return "read", trying(*arguments) or ""
    except UserFault as fault:
        return ("refused", str(fault)) if is_sentence(str(fault)) else ("no sentence", str(fault)[:2000])
    except Wrong as fault:
        return "wrong", str(fault)
    except BaseException:
        return "traceback", "".join(traceback.format_exception(*sys.exc_info()))[-4000:]


def is_sentence(text: str) -> bool:
    """No traceback, and short enough to be read: a data set that fits no layout gets a table of the layouts."""
    return 0 < len(text) < 5000 and "Traceback" not in text


def _peak_mb(*, reset: bool = False) -> float:
    """The process's largest resident size since it was last reset."""
    if reset:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
