"""Commands as a user types them, each in a process of its own that needn't wait for MONAI.

Importing MONAI takes up to ten seconds of a core. A server (multiprocessing's forkserver), one for each of pytest's
workers, imports it once and forks for every command.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

IMPORTED = ["torch", "monai.bundle", "monai.engines", "monai.handlers", "ignite.engine"]

_servers = multiprocessing.get_context("forkserver")
_servers.set_forkserver_preload(IMPORTED)


def typed(*words: object, timeout: float = 300) -> subprocess.CompletedProcess:
    """`python -m WORDS` or `python -c CODE …`, as `subprocess.run` with its output as text would give it.

    Raises:
        TimeoutError: it wasn't done in so many seconds; it is killed.
    """
    given = [str(word) for word in words]
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        child = begin(*given, outputs=outputs)
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise TimeoutError(f"{given} took over {timeout} s")
        out, errors = (file.read_text() for file in outputs)
    return subprocess.CompletedProcess(given, child.exitcode, out, errors)


def begin(*words: object, outputs: Sequence[Path]) -> multiprocessing.process.BaseProcess:
    """The same as a process that has just begun; stdout and stderr go into these two files."""
    given = [str(word) for word in words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = _servers.Process(target=_run, args=(given, os.getcwd(), environment, outputs))
    child.start()
    return child


def _run(words: Sequence[str], folder: str, environment: dict[str, str], outputs: Sequence[Path]) -> None:
    for descriptor, file in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    kind, what, *rest = words
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<typed>", "exec"), {"__name__": "__main__"})
