"""In which order clients clicked, kept in files: a server that was started again then answers as the one before.

Requests list the clicks of each class, and those of no class, but not which came first; and a click corrects what the
earlier ones left, so that their order counts. Files hold signs of clicks, no places, no names.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Hashable, Sequence
from hashlib import sha256
from pathlib import Path

from pgsam_monai.base.files import write_text

logger = logging.getLogger(__name__)

MOST = 200
"""sessions; of more, those that weren't clicked in for longest are forgotten"""

Signs = frozenset[str]


class ClickOrder:
    """By session, what its requests said, each what the one before said and more. Of any thread."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when something is kept."""
        self._folder, self._lock = folder, threading.Lock()

    def known(self, session: Hashable) -> list[Signs]:
        """The signs of all clicks of each request, in their order; nothing of a session that nobody clicked in."""
        file = self._file(session)
        try:
            added = json.loads(file.read_text(encoding="utf-8"))
            return [frozenset(sum(added[: number + 1], [])) for number in range(len(added))]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError):
            logger.warning("%s can't be read: the order of its clicks is lost", file)
            return []

    def keep(self, session: Hashable, requests: Sequence[Signs]) -> None:
        """In place of what was kept of a session. Where there is no room, clicks are answered, and their order is told
        to be lost."""
        before = (frozenset(), *requests)
        added = [sorted(now - then) for then, now in zip(before, requests, strict=False)]
        try:
            with self._lock:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_text(self._file(session), json.dumps(added))
                files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
                for file in files[:-MOST]:
                    file.unlink()
        except OSError as error:
            logger.warning("%s: the order of clicks won't outlast this server: %s", self._folder, error)

    def _file(self, session: Hashable) -> Path:
        return self._folder / f"{sign(session)}.json"


def sign(said: Hashable) -> str:
    """The same for what is equal, at every start: of plain values alone."""
    return sha256(repr(said).encode()).hexdigest()[:24]
