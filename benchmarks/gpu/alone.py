"""Each step in a process of its own: what breaks a GPU's context, hangs or dies is a line of the table, not its end."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

Report = Callable[[str, str], None]
"""(what, result): a row of the table"""


def run_alone(work: Callable[[Report], None], *, limit_s: float) -> Iterator[tuple[str, str]]:
    """The rows that `work` reports, as they come; a last one says why it ended if it didn't end well.

    The process is a fork of this one, which has imported all there is to import and must not have touched a GPU.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, theirs))
    ends = time.monotonic() + limit_s
    child.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, ends - time.monotonic())):
            yield ours.recv()
        yield "stopped", f"not done in {limit_s:.0f} s"
    except EOFError:
        child.join(10)
        if child.exitcode:
            yield "died", f"exit status {child.exitcode}"
    finally:
        child.terminate()
        child.join(10)
        if child.is_alive():
            child.kill()


def _work(work: Callable[[Report], None], to: Connection) -> None:
    try:
        work(lambda what, result: to.send((what, result)))
    except BaseException as error:  # a failing step is a row
        traceback.print_exc()
        to.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))
    finally:
        to.close()
