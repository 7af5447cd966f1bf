"""How much memory can be taken."""

from __future__ import annotations

from pathlib import Path


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
