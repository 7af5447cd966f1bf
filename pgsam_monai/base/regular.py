"""Regular files, told apart from what only looks like one: opening a named pipe would wait without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_regular(path: str | Path) -> bool:
    """Whether a path, links followed, is a file with content of its own."""
    return why_no_file(path) is None


def why_no_file(path: str | Path) -> str | None:
    """Why a path can't be opened as a file, without its name; None where it can. Nothing is opened."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "the file does not exist"
    except (OSError, ValueError) as error:  # a circle of links, missing rights; a zero byte in the name
        return f"can't be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISREG(mode):
        return None
    kind = next((words for test, words in _KINDS if test(mode)), "no file")
    return f"{kind} where a file is expected"
