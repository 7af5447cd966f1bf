"""A weights file comes whole and as published, or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import remove_remains, whole
from pgsam_monai.base.weights import Weights

CHUNK = 1 << 20


def sha256_of(file: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with Path(file).open("rb") as stream:
        _copy(stream, digest.update)
    return digest.hexdigest()


def store(stream: BinaryIO, file: Path, record: Weights, *, describe: str) -> Path:
    """Copy `stream` to `file`, which appears only once it is whole and what `record` says."""
    from tqdm import tqdm

    file.parent.mkdir(parents=True, exist_ok=True)
    remove_remains(file.parent)
    _check_space(file.parent, record)
    digest = hashlib.sha256()
    with whole(file) as partial:
        with (
            partial.open("wb") as out,
            tqdm(total=record.size_bytes, unit="B", unit_scale=True, desc=describe) as bar,
        ):

            def keep(piece: bytes) -> None:
                out.write(piece)
                digest.update(piece)
                bar.update(len(piece))

            _copy(stream, keep)
        _check_content(partial.stat().st_size, digest.hexdigest(), record)
    return file


def _copy(stream: BinaryIO, keep: Callable[[bytes], None]) -> None:
    while piece := stream.read(CHUNK):
        keep(piece)


def _check_space(folder: Path, record: Weights) -> None:
    free = shutil.disk_usage(folder).free
    if free < record.size_bytes:
        raise UserFault(
            f"Weights '{record.name}' need {record.size_bytes:,} bytes, '{folder}' has {free:,} free; "
            "make room or choose another weights_dir."
        )


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
