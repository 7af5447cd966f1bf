"""Files are written whole or not at all: under a temporary name beside the place, renamed when complete."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERIAL = itertools.count()
HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
REMAINS = re.compile(r"\.(?:.*\.)?(?:(?P<host>[0-9a-f]{8})-)?(?P<process>\d+)\.partial(?:\.\w+)?", re.DOTALL)
"""Names of what is being written: hidden, with the machine and the number of the process that writes."""
DAY_S = 86_400
PIECE = 1 << 22
"""bytes of a file that are read at once"""


@contextmanager
def whole(file: str | Path, *, synced: bool = False) -> Iterator[Path]:
    """A path to write to, which becomes `file` at the end; whatever fails before leaves `file` as it was.

    The folder is made, and what killed processes left in it removed. No other process or thread has the same path: of
    two that write `file`, the later wins whole. With `synced` the bytes are on the disk before the name is: what took
    hours to make survives a power cut.
    """
    file = Path(file)
    partial = _partial(file.parent, file.name)
    try:
        yield partial
        if synced:
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def scratch(folder: str | Path) -> Iterator[Path]:
    """A hidden folder in `folder`, which is made: files made there can be renamed into place. Gone at the end."""
    partial = _partial(Path(folder), "scratch")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(folder: Path, name: str) -> Path:
    """Where this process, and no other, may write: a short name, for the final one may be as long as names can be."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep_once(folder.absolute(), os.getpid())
    short = re.sub(r"\W+", "_", name)[:24]
    partial = folder / f".{short}.{next(SERIAL)}.{HOST}-{os.getpid()}.partial"
    _remove(partial)  # of a killed process that had our number
    return partial


def write_text(file: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all; returns the file."""
    with whole(file) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(file)


SYSTEM_FILES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "lost+found", "@eadir", "$recycle.bin"})
"""What systems leave in folders, beside hidden files, in lower case."""


def is_hidden(file: str | Path) -> bool:
    """Whether a file or folder is none of the user's, by its name.

    Hidden ones are (`.DS_Store`, macOS's `._scan.nii.gz`, our own partial files), and what systems leave in folders.
    """
    name = Path(file).name
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def visible(folder: str | Path) -> list[Path]:
    """What lies in a folder, without what `is_hidden`, sorted by name."""
    return sorted(path for path in Path(folder).iterdir() if not is_hidden(path))


@functools.lru_cache(maxsize=64)
def _sweep_once(folder: Path, process: int) -> None:
    """For each folder that a process writes to: a forked process sweeps for itself."""
    remove_remains(folder)


def remove_remains(folder: Path) -> None:
    """Remove what processes that were killed had begun to write into `folder`.

    Who writes from another machine can't be asked; what it has not touched for a day is taken for left over.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = [(Path(entry.path), REMAINS.fullmatch(entry.name)) for entry in entries]
    for path, name in found:
        if name and _is_left(path, name["host"], int(name["process"])):
            _remove(path)


def _is_left(path: Path, host: str | None, process: int) -> bool:
    try:
        touched = path.lstat().st_mtime
    except FileNotFoundError:  # whoever wrote it has just finished
        return False
    if host not in (HOST, None):
        return time.time() - touched > DAY_S
    import psutil  # here, for planning starts without it

    try:
        return psutil.Process(process).create_time() > touched + 1  # the number has been given anew
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256_of(file: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with open(file, "rb", buffering=0) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def time_and_size(file: Path) -> tuple[int, int]:
    """When a file was changed (ns), and its size (bytes)."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size
