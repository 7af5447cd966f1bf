"""A planned data set and untrained bundles for the fuzz tests to damage, and commands run in this process."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fuzz.json_damage import CANARY
from fuzz.workers import Wrong, is_sentence

from pgsam_monai.base.command_line import OURS
from pgsam_monai.base.errors import UserFault

WARNINGS = ("UserWarning", "warnings.warn", "FutureWarning", "DeprecationWarning")


def run_command(main: Callable[[Sequence[str]], None], words: Sequence[str]) -> str:
    """Run a command line here; what it printed, if it ended well.

    Raises:
        UserFault: it ended with another status than 0; the sentence.
        Wrong: it had no sentence.
    """
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace")]
    status: object = 0
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            main(words)
        except SystemExit as end:
            status = end.code
    out, told = (_text_of(stream) for stream in streams)
    if not status:
        return out
    said = status if isinstance(status, str) else told
    if OURS in said or "Traceback" in told:
        raise Wrong(f"{told[-3500:]}\n{said}")
    if not is_sentence(said):
        raise Wrong(f"no sentence: {said[:3000]!r}")
    raise UserFault(said)


def _text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8")


def link_tree(source: Path, target: Path) -> None:
    """A copy of a folder whose files are hard links; nothing may change them in place."""
    shutil.copytree(source, target, copy_function=os.link)


def check_clean(root: Path, known: Sequence[str]) -> None:
    """Raise Wrong if a string was evaluated, or something lies where nothing should."""
    if (root / "cwd" / CANARY).exists() or (root / CANARY).exists():
        (root / "cwd" / CANARY).unlink(missing_ok=True)
        raise Wrong("a string was run as code")
    strangers = [path.name for path in root.iterdir() if path.name not in known]
    strangers += [f"cwd/{path.name}" for path in (root / "cwd").iterdir()]
    if strangers:
        for name in strangers:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise Wrong(f"written outside the named folders: {strangers}")


@contextlib.contextmanager
def fresh_monai():
    """MONAI's loggers and warnings as they were before."""
    import logging

    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        sys.stdout.flush()
