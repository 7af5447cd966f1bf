"""Files are written whole or not at all: under a temporary name beside the place, renamed when complete."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(file: str | Path, *, synced: bool = False) -> Iterator[Path]:
    """A path to write to, which becomes `file` at the end; whatever fails before leaves `file` as it was.

    The folder is made. No other process or thread has the same path: of two that write `file`, the later wins whole.
    With `synced` the bytes are on the disk before the name is: what took hours to make survives a power cut.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{threading.get_ident()}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # of a killed process that had our number
    try:
        yield partial
        if synced:
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


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


def remove_remains(folder: Path) -> None:
    """Remove what processes that were killed had begun to write into `folder`."""
    import psutil  # here, for planning starts without it

    for file in folder.glob(".*.partial"):
        process = file.name.split(".")[-2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            file.unlink(missing_ok=True)


def time_and_size(file: Path) -> tuple[int, int]:
    """When a file was changed (ns), and its size (bytes)."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size
