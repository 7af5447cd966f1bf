"""Pretrained weights: where they lie on this machine, and how they come here.

A name (see `base.weights`) resolves to a file that lies beside this module, that was imported (`pgsam weights import
FILE`), that an installed package ships, or that is downloaded once, checked by its SHA-256 and only then given its
final name. A path resolves to itself.
"""

from __future__ import annotations

import functools
import http.client
import importlib.metadata
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import MissingFile, UserFault, did_you_mean
from pgsam_monai.base.files import sha256_of
from pgsam_monai.base.weights import CLIP_WEIGHTS, KNOWN_WEIGHTS, Package, Weights
from pgsam_monai.weights.checks import check_archive, check_tensors
from pgsam_monai.weights.notes import noted_digest, with_note, write_note
from pgsam_monai.weights.store import store
from pgsam_monai.weights.torchscript import is_torchscript, read_torchscript

logger = logging.getLogger(__name__)

TIMEOUT_S = 30
SHIPPED = Path(__file__).parent
"""Holds the weights that ship with this package."""


def default_weights_dir() -> Path:
    """The folder that keeps imported and downloaded weights: `~/.cache/pgsam_monai/weights/files`."""
    return Path.home() / ".cache" / "pgsam_monai" / "weights"


def known_weights() -> dict[str, Weights]:
    """All that can be asked for by name: SAM's and its relatives', and CLIP's."""
    return {**KNOWN_WEIGHTS, **CLIP_WEIGHTS}


def find_weights(record: Weights, *, weights_dir: str | Path | None = None) -> Path | None:
    """Where `record` lies: with this package, else in our folder, else in its installed package; None if nowhere.
    Nothing is checked."""
    if record.shipped and (SHIPPED / record.file_name).is_file():
        return SHIPPED / record.file_name
    file = _folder(weights_dir) / record.file_name
    if file.is_file():
        return file
    return _packaged_file(record.package) if record.package else None


def resolve_weights(weights: str | Path, *, weights_dir: str | Path | None = None) -> Path:
    """The local file of weights given by name or by path, downloaded if need be.

    Args:
        weights: a name in `known_weights()`, or the path of a file.
        weights_dir: the folder that keeps weights; None for `default_weights_dir()`.

    Raises:
        UserFault: no such name or file, other bytes than published, or the download failed; the message names the
            remedy.
    """
    record = known_weights().get(str(weights))
    if record is None:
        return _given_file(weights)
    file = find_weights(record, weights_dir=weights_dir)
    if file is None:
        return download_weights(record, _folder(weights_dir))
    if record.sha256 is None:
        record = with_note(record, file)
        _check_kept(record, file, digest=True)
    else:
        # Ours were when they came; but weights that ship may be other ones in another version, of the same size.
        came_checked = file.parent == _folder(weights_dir) and not record.shipped
        _check_kept(record, file, digest=not came_checked)
    return file


def _folder(weights_dir: str | Path | None) -> Path:
    return Path(weights_dir).expanduser() if weights_dir else default_weights_dir()


def _packaged_file(package: Package) -> Path | None:
    """The file of an installed package, which is not imported for that; None where it isn't installed."""
    try:
        file = Path(importlib.metadata.distribution(package.name).locate_file(package.file))
    except importlib.metadata.PackageNotFoundError:
        return None
    return file if file.is_file() else None


def _check_kept(record: Weights, file: Path, *, digest: bool) -> None:
    """Raise UserFault unless `file` has the record's size and, with `digest`, its hash."""
    status = file.stat()
    if status.st_size != record.size_bytes:
        raise UserFault(
            f"Weights '{record.name}': '{file}' has {status.st_size:,} bytes, expected {record.size_bytes:,}; "
            f"{_renew(record)}."
        )
    if digest and _digest(file, status.st_mtime_ns) != record.sha256:
        raise UserFault(
            f"Weights '{record.name}': the SHA-256 of '{file}' is {_digest(file, status.st_mtime_ns)}, expected "
            f"{record.sha256}; {_renew(record)}."
        )


def _renew(record: Weights) -> str:
    if record.shipped:
        return "this file isn't of this version of pgsam-monai; delete it and install pgsam-monai again"
    if record.package:
        return f"`pip install --force-reinstall {record.package.name}=={record.package.version}`"
    return "delete it, then run again or `pgsam weights import FILE`"


@functools.cache
def _digest(file: Path, mtime_ns: int) -> str:
    """SHA-256 of a file as it was at `mtime_ns`: computed once for each network of a process."""
    return sha256_of(file)


def _given_file(weights: str | Path) -> Path:
    file = Path(weights).expanduser()
    if file.is_file():
        return file
    hint = did_you_mean(weights, known_weights())
    raise UserFault(
        f"Weights '{weights}' are neither an existing file nor a known name "
        f"({', '.join(known_weights())}).{hint} Give the path of the file, or null for random weights."
    )


def download_weights(record: Weights, folder: str | Path) -> Path:
    """Download `record` into `folder` under a temporary name, check size and SHA-256, rename.

    Raises:
        UserFault: no connection, a broken transfer, or other bytes than published; or the weights come by pip, or
            have no published hash to check a download by; or they ship with this package, which lacks them.
    """
    if record.shipped:
        raise UserFault(
            f"Weights '{record.name}' ship with pgsam-monai, but this installation lacks them, which is to say that it "
            f"is damaged ('{SHIPPED / record.file_name}'). Install pgsam-monai again (`pip install --force-reinstall "
            f"--no-deps` from where it came), or run `pgsam weights import {record.file_name}` with the same version's "
            "file."
        )
    if record.package:
        raise UserFault(
            f"Weights '{record.name}' come with the package {record.package.name} {record.package.version}, which is "
            f"not installed: `pip install pgsam-monai[weights]`, or `pgsam weights import {record.file_name}`."
        )
    if record.sha256 is None:
        raise UserFault(
            f"Weights '{record.name}': no SHA-256 was published for them, so they are not downloaded unseen. Fetch "
            f"{record.url} yourself, unpack it, and run `pgsam weights import {record.file_name} --as {record.name}`, "
            "which keeps the file's own hash beside it."
        )
    file = Path(folder) / record.file_name
    logger.info("Weights '%s' (%s): downloading %s to %s.", record.name, record.licence, record.url, file)
    try:
        with urllib.request.urlopen(record.url, timeout=TIMEOUT_S) as response:  # noqa: S310, our own table's URL
            return store(response, file, record, describe=f"{record.name} download")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserFault(
            f"Weights '{record.name}' are not at '{file}' and {record.url} could not be downloaded "
            f"({reason}). Fetch {record.file_name} on a machine that can, copy it here and run "
            f"`pgsam weights import {record.file_name}`."
        ) from error


def import_weights(
    file: str | Path, *, name: str | None = None, weights_dir: str | Path | None = None
) -> Path:
    """Copy a weights file, recognised by its SHA-256, to where its name resolves to it.

    Args:
        file: the file that was fetched elsewhere.
        name: whose it is; needed only where no hash was published. Its own is then noted in a JSON file beside it, and
            checked from then on.
        weights_dir: the folder that keeps weights; None for `default_weights_dir()`.

    Returns:
        the copy; of weights that ship with this package their file in it, if it is there.

    Raises:
        UserFault: no such file or name, none of the known weights, not those of that name, or other ones lie there.
    """
    source = Path(file).expanduser()
    if not source.is_file():
        raise UserFault(f"Weights file '{source}' does not exist; give the path of the downloaded file.")
    digest = sha256_of(source)
    record = _recognise(source, digest) if name is None else _named(name)
    noted = record
    if record.sha256 is None:
        load_weights(source)  # whatever bytes these are, they must be tensors
        noted = replace(record, sha256=digest, size_bytes=source.stat().st_size)
    elif record.sha256 != digest:
        raise UserFault(
            f"Weights file '{source}' is not '{record.name}': its SHA-256 is {digest}, expected {record.sha256}. If "
            "the download was cut short, fetch it again; use other weights by their path."
        )
    if record.shipped and (SHIPPED / record.file_name).is_file():
        return resolve_weights(record.name, weights_dir=weights_dir)
    target = _folder(weights_dir) / record.file_name
    if record.sha256 is None and target.is_file() and digest not in (noted_digest(target), sha256_of(target)):
        raise UserFault(
            f"Other weights were imported as '{record.name}' before, '{target}', and bundles may depend on them; move "
            "them away if these are to take their place."
        )
    with source.open("rb") as stream:
        store(stream, target, noted, describe=f"{record.name} import")
    if record.sha256 is None:
        write_note(noted, target)
    return target


def _recognise(source: Path, digest: str) -> Weights:
    record = next((known for known in known_weights().values() if known.sha256 == digest), None)
    if record is not None:
        return record
    expected = "; ".join(
        f"{known.file_name} {known.sha256}" for known in known_weights().values() if known.sha256
    )
    unpublished = ", ".join(name for name, known in known_weights().items() if known.sha256 is None)
    raise UserFault(
        f"Weights file '{source}' is none of the known ones: its SHA-256 is {digest}, known are "
        f"{expected}. If the download was cut short, fetch it again; use other weights by their path, and name those "
        f"without a published hash ({unpublished}) by --as."
    )


def _named(name: str) -> Weights:
    known = known_weights()
    if name in known:
        return known[name]
    hint = did_you_mean(name, known)
    raise UserFault(f"Weights '{name}' are none of the known ones ({', '.join(known)}).{hint}")


def load_weights(file: str | Path) -> dict:
    """Read a state dict from a safetensors or PyTorch file, TorchScript too, executing nothing that the file may hold.

    Raises:
        MissingFile: there is none.
        UserFault: the file can't be read so, isn't whole, or holds values that are no finite numbers.
    """
    file = Path(file)
    if not file.is_file():
        raise MissingFile(f"There are no weights at '{file}'; train the bundle first, or correct the path.")
    scripted = is_torchscript(file)
    if not scripted:  # whose own reader compares the checksums of what it reads
        check_archive(file)
    content = _plain_tensors(file, scripted)
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UserFault(
            f"Weights file '{file}' holds no state dict but a {type(content).__name__}; give another file."
        )
    check_tensors(content, file)
    return content


def _plain_tensors(file: Path, scripted: bool) -> Any:
    import torch  # the command line reads this module's table without it

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        if scripted:
            return read_torchscript(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # every library below raises its own kinds
        reason = " ".join(str(error).partition(". ")[0].split())[:200] or "it ends too early"
        raise UserFault(
            f"Weights file '{file}' can't be read as plain tensors ({type(error).__name__}: {reason}); "
            "it may be a part of a file: fetch or copy it again, or save its state dict with torch.save or safetensors."
        ) from error
