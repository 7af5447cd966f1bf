"""Room on the disk: asked for before long work, and recognised where its end is told as something else."""

from __future__ import annotations

import shutil
from pathlib import Path

from pgsam_monai.base.errors import UserFault

LEAST = 1 << 20
"""Fewer free bytes than this are none: no library fills the last block."""


def require_room(folder: Path, needed: int, *, what: str, remedy: str) -> None:
    """Make a folder, and raise UserFault unless its disk has `needed` bytes free.

    Args:
        folder: where the work will write.
        needed: bytes, coarse.
        what: will be written, at the beginning of a sentence ("The store takes").
        remedy: beside making room, as the end of a sentence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < needed:  # some network drives say 0 of 0
        raise UserFault(
            f"{what} about {needed / 1e9:.2g} GB, and '{folder}' has {disk.free / 1e9:.2g} GB free; make room, or "
            f"{remedy}."
        )


def is_full(folder: Path, *, least: int = LEAST) -> bool:
    """Whether the disk of a folder has fewer than `least` bytes free."""
    return shutil.disk_usage(folder).free < least
