"""A weights file comes whole and as published, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import remove_remains, whole
from pgsam_monai.base.room import require_room
from pgsam_monai.base.weights import Weights

CHUNK = 1 << 20


def store(stream: BinaryIO, file: Path, record: Weights, *, describe: str) -> Path:
    """Copy `stream` to `file`, which appears only once it is whole and what `record` says."""
    from tqdm import tqdm

    require_room(
        file.parent,
        record.size_bytes,
        what=f"Weights '{record.name}' take",
        remedy="choose another weights_dir",
    )
    remove_remains(file.parent)
    digest = hashlib.sha256()
    with whole(file) as partial:
        with (
            partial.open("wb") as out,
            tqdm(total=record.size_bytes, unit="B", unit_scale=True, desc=describe) as bar,
        ):
            while piece := stream.read(CHUNK):
                out.write(piece)
                digest.update(piece)
                bar.update(len(piece))
        _check_content(partial.stat().st_size, digest.hexdigest(), record)
    return file


def _check_content(size_bytes: int, digest: str, record: Weights) -> None:
    if size_bytes != record.size_bytes:
        raise UserFault(
            f"Weights '{record.name}': got {size_bytes:,} bytes, expected {record.size_bytes:,}; the "
            f"transfer was cut short. Run again, or fetch {record.file_name} elsewhere and "
            "`pgsam weights import` it."
        )
    if digest != record.sha256:
        raise UserFault(
            f"Weights '{record.name}': SHA-256 is {digest}, expected {record.sha256}; the file was damaged "
            f"or replaced on its way. Run again, or fetch {record.file_name} elsewhere and "
            "`pgsam weights import` it."
        )
