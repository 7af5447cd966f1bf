"""Archives that clients send: only plain files come out of them, counted before and while they are unpacked."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pgsam_monai.base.files import is_hidden
from pgsam_monai.label.faults import RequestFault, short
from pgsam_monai.label.fields import LONGEST, is_text

MOST_FILES = 5000
"""of an archive; a DICOM series has some thousand"""
DEEPEST = 8
"""folders in one another"""
LONGEST_HEAD = 1 << 16
PIECE = 1 << 20
HARMLESS_BYTES, LARGEST_RATIO = 100 * 10**6, 100
"""An archive may become so large, or so many times its size. Scans become 2 to 10 times as large, what is made to fill
disks a thousand times."""
SPARE_BYTES = 500 * 10**6
"""of the disk, left to others"""
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What Python says of archives that are cut, changed, encrypted, or packed in a way that it doesn't know."""


@dataclass(frozen=True)
class _Member:
    """A file in an archive."""

    path: PurePosixPath
    size: int
    """bytes, as the archive says"""
    opener: Any
    """() -> its content as a binary stream"""


def unpack(archive: Path, folder: Path, *, most_bytes: int) -> list[Path]:
    """Unpack a .zip or a .tar(.gz, .bz2, .xz) into `folder`, which is made; hidden files stay out.

    Archives in it stay as they are.

    Args:
        archive: named by the client.
        folder: new.
        most_bytes: of all files together, unpacked; of a small archive fewer are taken.

    Returns:
        What lies in `folder` then, sorted.

    Raises:
        RequestFault: damaged, encrypted, no archive, or with links, devices, paths that lead elsewhere, too many
            files or too many bytes.
    """
    folder.mkdir()
    most_bytes = min(most_bytes, max(HARMLESS_BYTES, LARGEST_RATIO * archive.stat().st_size))
    try:
        with _opened(archive) as members:
            kept = list(_checked(members, archive.name, most_bytes))
            room = min(most_bytes, shutil.disk_usage(folder).free - SPARE_BYTES)
            for member in kept:
                room -= _write(member, folder / member.path, room, archive.name)
    except RequestFault:
        raise
    except DAMAGED as error:
        raise RequestFault(
            f"'{archive.name}' can't be unpacked ({str(error) or type(error).__name__}); send a .zip or .tar.gz.",
            status=422,
        ) from error
    return sorted(folder.iterdir())


class _ShortHeads(tarfile.TarInfo):
    """Python reads a member's further heads, of names and dates, into memory, whatever size they say."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > LONGEST_HEAD:
            raise tarfile.ReadError("a head in it is too long")
        return super()._proc_member(archive)


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield _members_of_zip(opened)
    else:
        with tarfile.open(archive, tarinfo=_ShortHeads) as opened:
            yield _members_of_tar(opened)


def _members_of_zip(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        if not info.is_dir():
            if info.flag_bits & 1:
                raise RequestFault("The archive is encrypted; send it without a password.", status=422)
            if info.external_attr >> 28 not in (0, 8):  # the file's kind, where the archive is of Unix
                raise RequestFault(f"{short(info.filename)} is no plain file; send files only.", status=422)
            yield _Member(PurePosixPath(info.filename), info.file_size, lambda info=info: archive.open(info))


def _members_of_tar(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if not info.isdir():
            if not info.isreg() or info.issparse():
                raise RequestFault(f"{short(info.name)} is no plain file; send files only.", status=422)
            yield _Member(PurePosixPath(info.name), info.size, lambda info=info: archive.extractfile(info))


def _checked(members: Iterator[_Member], name: str, most_bytes: int) -> Iterator[_Member]:
    """Those that are to be unpacked. What an archive says of sizes may be a lie, so `_write` counts too."""
    promised, seen = 0, 0
    for member in members:
        promised, seen = promised + member.size, seen + 1
        if seen > MOST_FILES:
            raise RequestFault(f"'{name}' holds more than {MOST_FILES} files; send one image.", status=413)
        if promised > most_bytes:
            raise _too_much(name, most_bytes)
        parts = member.path.parts
        if any(map(is_hidden, parts)) and ".." not in parts:
            continue
        if member.path.is_absolute() or len(parts) > DEEPEST or not parts or not all(map(_is_name, parts)):
            raise RequestFault(
                f"'{name}' holds {short(str(member.path))}; paths in it must be plain names, relative, and at most "
                f"{DEEPEST} folders deep.",
                status=422,
            )
        yield member


def _is_name(part: str) -> bool:
    """Whether it names a file or folder on every system, and no other place."""
    return part != ".." and len(part) <= LONGEST and is_text(part) and not set(part) & set('\\/:*?"<>|')


def _write(member: _Member, file: Path, room: int, name: str) -> int:
    """Bytes that were written, which are at most `room`."""
    if file.exists():
        raise RequestFault(f"'{name}' holds {short(str(member.path))} twice; send it once.", status=422)
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.opener() as packed, file.open("xb") as copy:
        for piece in _pieces(packed):
            written += len(piece)
            if written > room:
                raise _too_much(name, written)
            copy.write(piece)
    return written


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def _too_much(name: str, most_bytes: int) -> RequestFault:
    return RequestFault(
        f"'{name}' unpacks to more than {most_bytes / 10**6:.0f} MB, which is more than the server takes of "
        "it; put the images into the studies folder instead.",
        status=413,
    )
