"""A training runs in a process of its own, whose last line tells the server what went wrong."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pgsam_monai.base.errors import UserFault, root_of
from pgsam_monai.data.store import StoreError
from pgsam_monai.label.faults import RequestFault

logger = logging.getLogger(__name__)

SERVER, TASK_PROCESS = "pgsam_monai.label.http.main", "monailabel.interfaces.utils.app"
"""What Python is started with for the server, and for each task that it runs in the background."""
TOLD = (ValueError, FileNotFoundError, StoreError, UserFault, SystemExit)
"""Faults whose message is a sentence for the user; others go to the log with their traceback."""


@contextmanager
def training_of(name: str) -> Iterator[None]:
    """Around a training: what goes wrong in it becomes one sentence.

    Args:
        name: what the sentence calls what is trained.

    Raises:
        RequestFault: the sentence; also where the server itself would train, and answer nobody meanwhile.
        SystemExit: the sentence, in a process of its own.
    """
    if main_module() == SERVER:
        raise RequestFault("Training runs in a process of its own; leave run_sync out and ask GET /train/.")
    try:
        yield
    except (Exception, SystemExit) as fault:
        root = root_of(fault)
        if not isinstance(root, TOLD):
            logger.exception("Training failed")
        sentence = f"Training of '{name}' failed: {root or type(root).__name__}"
        if main_module() == TASK_PROCESS:
            raise SystemExit(sentence) from None
        raise RequestFault(sentence, status=getattr(root, "status", 500)) from fault


def main_module() -> str | None:
    """The module that Python was started with, None for a file."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return None if spec is None else spec.name
