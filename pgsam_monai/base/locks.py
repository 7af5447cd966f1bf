"""Folders that one command at a time works in. A lock ends with the process that has it, however that ends."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pgsam_monai.base.errors import UserFault

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""The file of a folder that is locked; it holds the number of the process, and goes with it unless that is killed."""

TRAINING = "wait until its training ends, or train into another folder with --ckpt_dir"
"""What to do about a folder of checkpoints that is at work, as the end of a sentence."""

_held: dict[Path, IO[str]] = {}


class FolderInUse(UserFault):
    """Another process is at work in a folder; the message names both."""


@contextmanager
def hold(folder: str | Path, *, refusal: str | None = None) -> Iterator[int]:
    """Keep a folder, which is made, to this process and to those that inherit the descriptor which is given.

    A child that outlives its killed parent, and was given the descriptor, still holds the folder. Forked workers of
    this process don't.

    Args:
        folder: any.
        refusal: what the user can do while another process holds the folder, as the end of a sentence; None waits
            for that process instead, saying so.

    Raises:
        FolderInUse: another process holds the folder, and `refusal` was given.
    """
    folder = Path(folder).resolve()
    file = _locked(folder, refusal)
    _held[folder] = file
    try:
        yield file.fileno()
    finally:
        release(folder)


def keep(folder: str | Path, *, refusal: str) -> None:
    """As `hold`, until `release` or the end of this process; a folder that it keeps already stays its own."""
    folder = Path(folder).resolve()
    if folder not in _held:
        _held[folder] = _locked(folder, refusal)


def release(folder: str | Path) -> None:
    """Let others have a folder that `keep` has kept, if it has."""
    folder = Path(folder).resolve()
    if file := _held.pop(folder, None):
        with suppress(OSError):
            (
                folder / LOCK
            ).unlink()  # before it is free: whoever waits for it sees that it is gone, and begins anew
        file.close()


def _locked(folder: Path, refusal: str | None) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        file = (folder / LOCK).open("a+", encoding="utf-8")
        try:
            _lock(file, folder, refusal)
            if _is_there(file, folder / LOCK):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[str], folder: Path, refusal: str | None) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _wait_or_refuse(file, folder, refusal)
    except OSError as error:  # some network drives know no locks
        logger.warning("'%s' can't be locked (%s): see to it that one command at a time works there.",
                       folder, error.strerror)  # fmt: skip


def _is_there(file: IO[str], path: Path) -> bool:
    """Whether the file has the name still: whoever held it before removes it at the end."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _wait_or_refuse(file: IO[str], folder: Path, refusal: str | None) -> None:
    import fcntl

    file.seek(0)
    number = file.read(20).strip()
    who = f"Process {number}" if number.isdigit() else "Another command"
    if refusal is not None:
        raise FolderInUse(f"{who} is at work in '{folder}'; {refusal}.")
    print(f"{who} is at work in '{folder}'; waiting for it.", flush=True)
    fcntl.flock(file, fcntl.LOCK_EX)


def _let_go() -> None:
    """In a forked worker, which may outlive its process by seconds and would keep the next command out."""
    for file in _held.values():
        file.close()
    _held.clear()


@atexit.register
def _release_all() -> None:
    for folder in list(_held):
        release(folder)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
