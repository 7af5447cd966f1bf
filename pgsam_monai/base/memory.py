"""How much memory can be taken, how much of it by one image (`--max_gb`, or a share of what is free), its return."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

from pgsam_monai.base.errors import UserFault

VARIABLE = "PGSAM_MAX_GB"
"""environment variable that carries the limit to whatever processes a command starts"""
SHARE = 0.25
"""of the free memory that one image may take: working with it takes several times that"""


def set_limit(max_gb: object) -> None:
    """Set the limit, in GB, of this process and of those that it starts; None leaves the default.

    Raises:
        UserFault: no number above 0.
    """
    if max_gb is not None:
        os.environ[VARIABLE] = str(_gigabytes(max_gb, "--max_gb"))


def is_set() -> bool:
    """Whether somebody set the limit."""
    return VARIABLE in os.environ


def limit_bytes() -> float:
    """Bytes that the voxels of one image may take; infinite where neither user nor system say anything."""
    if given := os.environ.get(VARIABLE):
        return _gigabytes(given, VARIABLE) * 1e9
    free = free_memory_bytes()
    return math.inf if free is None else free * SHARE


def _gigabytes(given: object, name: str) -> float:
    try:
        number = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(given, bool) or not 0 < number < math.inf:
        raise UserFault(f"{name} is how many GB one image may take, a number above 0; got {given!r}.")
    return number


def why_limited() -> str:
    """Where the limit comes from, if nobody set it, for a sentence."""
    return "" if is_set() else ", a quarter of the free memory"


def free_memory_bytes() -> int | None:
    """Memory that can be taken without swapping, a container's limit heeded; None where the system does not
    tell."""
    free = []
    try:
        text = Path("/proc/meminfo").read_text()
        free.append(
            next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("MemAvailable"))
        )
        free.append(_free_in_container(Path("/sys/fs/cgroup")))
    except (OSError, StopIteration, ValueError):
        pass
    return max(0, min(free)) if free else _free_elsewhere()


def hand_back_freed_memory() -> None:
    """Give what this process has freed back to the system; glibc keeps much of it, in pieces, for the process."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _free_in_container(group: Path) -> int:
    """Files that are kept in memory but can be dropped count as free. Raises ValueError without a limit ("max")."""
    limit = int((group / "memory.max").read_text())
    fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return limit - int((group / "memory.current").read_text()) + int(fields.get("inactive_file", 0))


def _free_elsewhere() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)
