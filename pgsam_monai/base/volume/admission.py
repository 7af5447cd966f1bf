"""What every file passes before a reader opens it, and where the voxels of a header may lie."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from pgsam_monai.base.regular import why_no_file
from pgsam_monai.base.volume.limits import require_bytes
from pgsam_monai.base.volume.records import ReadError


def admit(file: Path) -> None:
    """Raises ReadError unless `file` is a regular file with content, no larger than the limit."""
    if reason := why_no_file(file):
        raise ReadError(file, reason)
    size = file.stat().st_size
    if size == 0:
        raise ReadError(file, "the file is empty")
    require_bytes(file, size)


def data_beside(header: Path, name: str) -> Path:
    """The file that a header names for its voxels; it lies in the header's own folder.

    Raises:
        ReadError: it names a place elsewhere, in words or by a link, or no file.
    """
    name = name.removeprefix("./")
    if name in ("", ".", "..") or PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        raise ReadError(
            header,
            f"it takes its voxels from {name[:80]!r}, which is no file in its own folder; put it there",
        )
    data = header.with_name(name)
    if reason := why_no_file(data):
        raise ReadError(header, f"its voxels should lie in {name[:80]}, but {reason}")
    admit(data)
    if data.resolve().parent not in (header.parent.resolve(), header.resolve().parent):
        raise ReadError(
            header, f"its voxels in {name} are a link to another folder than its own; copy them beside it"
        )
    return data
