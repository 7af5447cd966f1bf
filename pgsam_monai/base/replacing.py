"""What may be replaced: what we wrote ourselves, as long as nobody has touched it since. Inputs never."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of

RECORD = ".pgsam_written"
"""In every folder of results: a line of JSON per file with its name and SHA-256, of which the last counts."""
SHOWN = 3


def note_written(*files: str | Path) -> None:
    """Remember files as they are now; lines are appended, so that commands side by side don't lose each other's."""
    for file in map(Path, files):
        line = json.dumps({"file": file.name, "sha256": _sha256(file)})
        with (file.parent / RECORD).open("a", encoding="ascii") as record:
            record.write(f"{line}\n")


def require_replaceable(
    files: Iterable[str | Path], *, inputs: Iterable[str | Path] = (), overwrite: bool = False
) -> None:
    """Refuse to write over anything but our own results.

    Args:
        files: what is to be written.
        inputs: files, and folders of series, that are read for that: never replaced, by whatever path, link or case of
            letters they are named.
        overwrite: the user allows all but inputs to be replaced.

    Raises:
        UserFault: by name, what would be lost.
    """
    read = {identity: path for path in inputs if (identity := _identity(path))}
    records: dict[Path, dict[str, str]] = {}
    strange = []
    for file in map(Path, files):
        _check_inputs(file, read)
        if not overwrite and _exists(file):
            if file.parent not in records:
                records[file.parent] = _record(file.parent)
            if not _is_as_noted(file, records[file.parent]):
                strange.append(file)
    if strange:
        raise UserFault(_refusal(strange))


def keep_aside(file: str | Path, *, ours_too: bool = False) -> Path | None:
    """Make place for a file where the user can't be asked: rename what lies there.

    Args:
        file: that is to be written, or removed.
        ours_too: keep what is as we wrote it, too.

    Returns:
        the new name, see `backup_name`; None if nothing had to be kept.
    """
    file = Path(file)
    if not _exists(file) or (not ours_too and _is_as_noted(file, _record(file.parent))):
        return None
    kept = backup_name(file)
    file.rename(kept)
    return kept


def backup_name(file: str | Path) -> Path:
    """Where a file can be kept: <file>.bak, or .bak2 and so on where that is taken."""
    file = Path(file)
    names = (
        file.with_name(f"{file.name}.bak{number if number > 1 else ''}") for number in itertools.count(1)
    )
    return next(name for name in names if not _exists(name))


def is_kept(file: Path) -> bool:
    """Whether a name is one of `backup_name`'s."""
    return bool(re.fullmatch(r"\.bak\d*", file.suffix))


def _is_as_noted(file: Path, record: Mapping[str, str]) -> bool:
    return file.name in record and not file.is_symlink() and record[file.name] == _sha256(file)


def _check_inputs(file: Path, read: dict[tuple[int, int], str | Path]) -> None:
    own, folder = _identity(file), _identity(file.parent)
    same = read[own] if own in read else None
    if same is not None:
        raise UserFault(f"'{file}' would replace '{same}', which is read; choose another folder or name.")
    series = read[folder] if folder in read else None
    if series is not None:
        raise UserFault(f"'{file}' would lie in '{series}', which is read; choose another folder.")
    if file.is_dir() and not file.is_symlink():
        raise UserFault(f"A folder lies where '{file}' is to be written; move it, or choose another folder.")


def _refusal(strange: Sequence[Path]) -> str:
    names = ", ".join(f"'{file}'" for file in strange[:SHOWN])
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    them, they = ("it", "it is") if len(strange) == 1 else ("them", "they are")
    return (
        f"{names}{more} would be replaced, and {they} not what pgsam wrote there last; choose another folder or name, "
        f"or give --overwrite to replace {them}."
    )


def _record(folder: Path) -> dict[str, str]:
    """SHA-256 by name; lines that were cut off, or are none of ours, count for nothing."""
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    noted = {}
    for line in lines:
        try:
            entry = json.loads(line)
            noted[entry["file"]] = entry["sha256"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return noted


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _exists(file: Path) -> bool:
    try:
        return os.path.lexists(file)
    except ValueError:
        return False


def _sha256(file: Path) -> str | None:
    """None of what is no ordinary file, which nothing equals."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return None
        return sha256_of(file)
    except OSError:
        return None
