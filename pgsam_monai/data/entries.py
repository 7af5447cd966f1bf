"""What an entry of the store says of itself: a record that knows its own checksum, and those of its arrays."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENTRY = "entry.json"
SEAL = "seal"
BLOCK = 1 << 20


def write_entry(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record of an entry whose arrays lie in `folder`, onto the disk itself; returns it."""
    files = {path.name: _facts(path) | {"crc32": _crc32(path)} for path in sorted(folder.iterdir())}
    content = json.loads(json.dumps({**record, "files": files}))
    content[SEAL] = _seal(content)
    with (folder / ENTRY).open("w", encoding="utf-8") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    return content


def read_entry(folder: Path) -> dict[str, Any] | None:
    """The record, if neither it nor an array was changed since; None if anything was, or is lacking.

    Arrays whose size and times are those of their making are trusted; otherwise their checksums are computed
    (1.7 GB/s), such as in a store that was copied.
    """
    try:
        record = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        sealed = record[SEAL] == _seal(record)
        return record if sealed and all(_same(folder / n, f) for n, f in record["files"].items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _seal(record: Mapping[str, Any]) -> str:
    """A checksum of all other fields: whatever an editor does to them is noticed."""
    others = {name: value for name, value in record.items() if name != SEAL}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _same(path: Path, facts: Mapping[str, Any]) -> bool:
    now = _facts(path)
    if now["size"] != facts["size"]:
        return False
    return now == {name: facts[name] for name in now} or _crc32(path) == facts["crc32"]


def _facts(path: Path) -> dict[str, int]:
    """Size, and the two times that every change of the content moves."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
