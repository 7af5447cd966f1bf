"""Pretrained weights: which there are, where they lie on this machine, and how they come here.

A name resolves to a file that was imported (``pgsam weights import FILE``) or is downloaded once, checked by
its SHA-256 and only then given its final name. A path resolves to itself.
"""

from __future__ import annotations

import difflib
import hashlib
import http.client
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
TIMEOUT_S = 30


class WeightsError(Exception):
    """Weights are missing, damaged or unknown; the message names the remedy."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One published weights file."""

    name: str
    """What a plan or a config calls it."""
    url: str
    """Where its authors publish it."""
    sha256: str
    """Hexadecimal digest of the file."""
    size_bytes: int
    """Size of the file."""
    licence: str
    """SPDX identifier."""
    backbone: str
    """The backbone that it belongs to."""

    @property
    def file_name(self) -> str:
        """The file's name at its source, and in our folder."""
        return self.url.rsplit("/", 1)[-1]


_SAM = "https://dl.fbaipublicfiles.com/segment_anything"

KNOWN_WEIGHTS: dict[str, Weights] = {
    record.name: record
    for record in (
        Weights(
            name="sam_vit_b",
            url=f"{_SAM}/sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            size_bytes=375_042_383,
            licence="Apache-2.0",
            backbone="vit_b",
        ),
        Weights(
            name="sam_vit_l",
            url=f"{_SAM}/sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            size_bytes=1_249_524_607,
            licence="Apache-2.0",
            backbone="vit_l",
        ),
        Weights(
            name="sam_vit_h",
            url=f"{_SAM}/sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            size_bytes=2_564_550_879,
            licence="Apache-2.0",
            backbone="vit_h",
        ),
    )
}
"""Every weights file that can be asked for by name."""


def default_weights_dir() -> Path:
    """The folder that keeps imported and downloaded weights: ``~/.cache/pgsam_monai/weights``."""
    return Path.home() / ".cache" / "pgsam_monai" / "weights"


def resolve_weights(weights: str | Path, *, weights_dir: str | Path | None = None) -> Path:
    """The local file of weights given by name or by path, downloaded if need be.

    Args:
        weights: a name in ``KNOWN_WEIGHTS``, or the path of a file.
        weights_dir: the folder that keeps weights; None for ``default_weights_dir()``.

    Raises:
        WeightsError: no such name or file, or the download failed; the message names the remedy.
    """
    record = KNOWN_WEIGHTS.get(str(weights))
    if record is None:
        return _given_file(weights)
    folder = Path(weights_dir).expanduser() if weights_dir else default_weights_dir()
    file = folder / record.file_name
    if not file.is_file():
        return download_weights(record, folder)
    if file.stat().st_size != record.size_bytes:
        raise WeightsError(
            f"Weights '{record.name}': '{file}' has {file.stat().st_size:,} bytes, expected "
            f"{record.size_bytes:,}; delete it, then run again or `pgsam weights import FILE`."
        )
    return file


def _given_file(weights: str | Path) -> Path:
    file = Path(weights).expanduser()
    if file.is_file():
        return file
    near = difflib.get_close_matches(str(weights), KNOWN_WEIGHTS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise WeightsError(
        f"Weights '{weights}' are neither an existing file nor a known name "
        f"({', '.join(KNOWN_WEIGHTS)}).{hint} Give the path of the file, or null for random weights."
    )


def download_weights(record: Weights, folder: str | Path) -> Path:
    """Download ``record`` into ``folder`` under a temporary name, check size and SHA-256, rename.

    Raises:
        WeightsError: no connection, a broken transfer, or other bytes than published.
    """
    file = Path(folder) / record.file_name
    logger.info("Weights '%s' (%s): downloading %s to %s.", record.name, record.licence, record.url, file)
    try:
        with urllib.request.urlopen(record.url, timeout=TIMEOUT_S) as response:  # noqa: S310, our own table's URL
            return _store(response, file, record, describe=f"{record.name} download")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"Weights '{record.name}' are not at '{file}' and {record.url} could not be downloaded "
            f"({reason}). Fetch {record.file_name} on a machine that can, copy it here and run "
            f"`pgsam weights import {record.file_name}`."
        ) from error


def import_weights(file: str | Path, *, weights_dir: str | Path | None = None) -> Path:
    """Copy a weights file, recognised by its SHA-256, to where its name resolves to it.

    Raises:
        WeightsError: no such file, or none of the known weights.
    """
    source = Path(file).expanduser()
    if not source.is_file():
        raise WeightsError(f"Weights file '{source}' does not exist; give the path of the downloaded file.")
    digest = sha256_of(source)
    record = next((known for known in KNOWN_WEIGHTS.values() if known.sha256 == digest), None)
    if record is None:
        expected = "; ".join(f"{known.file_name} {known.sha256}" for known in KNOWN_WEIGHTS.values())
        raise WeightsError(
            f"Weights file '{source}' is none of the known ones: its SHA-256 is {digest}, known are "
            f"{expected}. If the download was cut short, fetch it again; use other weights by their path."
        )
    folder = Path(weights_dir).expanduser() if weights_dir else default_weights_dir()
    with source.open("rb") as stream:
        return _store(stream, folder / record.file_name, record, describe=f"{record.name} import")


def sha256_of(file: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with Path(file).open("rb") as stream:
        _copy(stream, digest.update)
    return digest.hexdigest()


def load_weights(file: str | Path) -> dict:
    """Read a state dict from a safetensors or PyTorch file, executing nothing that the file may hold.

    Raises:
        WeightsError: the file can't be read so.
    """
    import torch  # the command line reads this module's table without it

    file = Path(file)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # every library below raises its own kinds
        raise WeightsError(
            f"Weights file '{file}' can't be read as plain tensors ({type(error).__name__}: {error}); "
            "fetch it again, or save its state dict with torch.save or safetensors."
        ) from error


def _store(stream: BinaryIO, file: Path, record: Weights, *, describe: str) -> Path:
    """Copy ``stream`` under a temporary name, check it against ``record``, and rename it to ``file``."""
    from tqdm import tqdm

    file.parent.mkdir(parents=True, exist_ok=True)
    _check_space(file.parent, record)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with (
            unfinished.open("wb") as out,
            tqdm(total=record.size_bytes, unit="B", unit_scale=True, desc=describe) as bar,
        ):

            def keep(piece: bytes) -> None:
                out.write(piece)
                digest.update(piece)
                bar.update(len(piece))

            _copy(stream, keep)
        _check_content(unfinished.stat().st_size, digest.hexdigest(), record)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def _copy(stream: BinaryIO, keep: Callable[[bytes], None]) -> None:
    while piece := stream.read(CHUNK):
        keep(piece)


def _check_space(folder: Path, record: Weights) -> None:
    free = shutil.disk_usage(folder).free
    if free < record.size_bytes:
        raise WeightsError(
            f"Weights '{record.name}' need {record.size_bytes:,} bytes, '{folder}' has {free:,} free; "
            "make room or choose another weights_dir."
        )


def _check_content(size_bytes: int, digest: str, record: Weights) -> None:
    if size_bytes != record.size_bytes:
        raise WeightsError(
            f"Weights '{record.name}': got {size_bytes:,} bytes, expected {record.size_bytes:,}; the "
            f"transfer was cut short. Run again, or fetch {record.file_name} elsewhere and "
            "`pgsam weights import` it."
        )
    if digest != record.sha256:
        raise WeightsError(
            f"Weights '{record.name}': SHA-256 is {digest}, expected {record.sha256}; the file was damaged "
            f"or replaced on its way. Run again, or fetch {record.file_name} elsewhere and "
            "`pgsam weights import` it."
        )
