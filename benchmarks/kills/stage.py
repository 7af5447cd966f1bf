"""The folders that commands are killed in, and a command's run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

NETWORK, DATASET = "unet", "phantom"
RERUN_S = 300
REMAINS = (".partial", ".tmp", ".part", "label-maps-")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The folder that everything happens in: `now` is worked on, `before` has how it was for each command."""

    folder: Path

    @property
    def now(self) -> Path:
        return self.folder / "now"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def bundle(self) -> Path:
        return self.now / f"bundles/{NETWORK}_{DATASET}"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def keep(self, name: str) -> None:
        """Remember the files as they are now under this name."""
        shutil.rmtree(self.folder / "before" / name, ignore_errors=True)
        shutil.copytree(self.now, self.folder / "before" / name, symlinks=True)

    def reset(self, name: str) -> None:
        """Everything as it was then, and no temporary files."""
        for folder in (self.now, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / "before" / name, self.now, symlinks=True)
        self.temporary.mkdir()


def start(stage: Stage, words: list[str], client: Callable | None) -> subprocess.Popen:
    environment = os.environ | {
        "TMPDIR": str(stage.temporary),
        "OMP_NUM_THREADS": "1",
        "HOME": str(stage.folder / "home"),
    }
    output = (stage.folder / "output.txt").open("wb")
    with output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
    if client:
        threading.Thread(target=client, args=(stage, process), daemon=True).start()
    return process


def output_of(stage: Stage) -> str:
    return (stage.folder / "output.txt").read_text(errors="replace")


def finish(stage: Stage, words: list[str], client: Callable | None = None) -> str | None:
    """Run a command to its end; what was wrong with that, if anything."""
    process = start(stage, words, client)
    try:
        status = process.wait(RERUN_S)
    except subprocess.TimeoutExpired:
        end_family(process)
        return f"the rerun didn't end within {RERUN_S} s"
    return (
        None if status == 0 or client else f"the rerun ended with {status}: {output_of(stage).strip()[-300:]}"
    )


def living(session: int) -> list[psutil.Process]:
    """Processes of a session that was started by `start`."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def end_family(process: subprocess.Popen) -> None:
    for one in living(process.pid):
        one.kill()
    process.wait()


def remains(stage: Stage) -> list[str]:
    """Partial and temporary files, which no run may leave."""
    inside = [path for path in stage.now.rglob("*") if any(mark in path.name for mark in REMAINS)]
    return [str(path.relative_to(stage.folder)) for path in (*inside, *stage.temporary.iterdir())]
