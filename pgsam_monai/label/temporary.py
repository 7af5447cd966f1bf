"""The server's own folder for temporary files: nobody else reads it, and nothing in it outlives the server for long."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pgsam_monai.base.errors import UserFault

PREFIX = "pgsam-label-"


def sweep_temporary(parent: str | Path | None = None) -> None:
    """Remove what this user's dead servers have left in `parent`; the system's own folder for None."""
    for folder in Path(parent or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.getuid():
            held = _hold(folder)
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def own_temporary(parent: str | Path | None = None) -> Path:
    """A new folder in `parent` that only this user may enter, held by this process, through an exec too.

    Raises:
        UserFault: it can't be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise UserFault(
            f"'{parent or tempfile.gettempdir()}' can't be written ({error.strerror}), and requests need files there; "
            "set TMPDIR to another folder."
        ) from error
    os.set_inheritable(_hold(folder), True)
    return folder


def _hold(folder: Path) -> int | None:
    """A descriptor that locks a folder until the process ends, however it does; None where another one holds it."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
