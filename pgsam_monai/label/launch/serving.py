"""What was typed after `pgsam label`, checked before anything starts; all faults are told at once."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.label.fields import is_dicomweb
from pgsam_monai.label.launch.app_folder import default_app_dir, faults_of_app_dir
from pgsam_monai.label.launch.labels import BOTH_WAYS, faults_of_labels
from pgsam_monai.runtime.engines import AUTO, ENGINES, TORCH

GOOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
KINDS = ("deepedit", "deepgrow", "detection", "classification")
"""MONAI Label reads a model's kind from its name."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is to be served, and to whom."""

    bundles: dict[str, Path]
    """absolute folders by name"""
    studies: Path | str
    """a folder, or the address of a DICOMweb server"""
    app_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    auth: str | None = None
    """realm of an OpenID Connect server, such as Keycloak"""
    score: tuple[str, ...] = ()
    """bundles whose scoring runs by itself, at the start and after a training"""
    train: bool = True
    allow_origin: tuple[str, ...] = ()
    """addresses of web pages that may ask this server, beside those of this machine"""
    max_upload_mb: int = 2000
    also_read: tuple[Path, ...] = ()
    """folders whose images may be asked for by their paths"""
    engine: str = AUTO
    """what computes, see `runtime.choosing.exported_network`"""
    labels: tuple[str, ...] = ()
    """structures that our own weights answer clicks about; none: they are not served"""
    window: tuple[float, float] | None = None
    """grey values that these weights see as black and white, for CT; None: percentiles of each image"""
    plane: str | None = None
    """in which these weights see slices; None: across the largest spacing, axial among equals"""


def check(
    bundles: Sequence[str],
    studies: str | None,
    *,
    app_dir: str | None,
    host: str,
    port: object,
    auth: str | None,
    score: Sequence[str],
    train: object,
    allow_origin: Sequence[str],
    max_upload_mb: object,
    also_read: Sequence[str],
    engine: str = AUTO,
    labels: Sequence[str] = (),
    window: tuple[float, ...] | None = None,
    plane: str | None = None,
) -> Serving:
    """See the help of `pgsam label`.

    Raises:
        ValueError: every fault, a line each.
    """
    faults: list[str] = []
    named = _named_bundles(bundles, faults)
    faults += faults_of_labels(labels, window, named, plane) if labels or named else [BOTH_WAYS]
    place = _studies(studies, faults)
    app = None if place is None else Path(app_dir).absolute() if app_dir else default_app_dir(place)
    if isinstance(place, Path):
        faults += _faults_inside(place, {"bundle": named.values(), "--app_dir": [app]})
    if app is not None:
        faults += faults_of_app_dir(app, named)
    faults += [f"--also_read '{folder}' is no folder." for folder in also_read if not Path(folder).is_dir()]
    faults += faults_of_address(host, port)
    faults += [
        f"--score {name} is none of the bundles: {', '.join(named) or 'none was named'}."
        for name in score
        if name not in named
    ]
    faults += [
        f"--score {name} is an ensemble, which isn't trained and therefore not scored; score one of its networks."
        for name in score
        if name in named and _is_ensemble(named[name])
    ]
    if engine not in (AUTO, TORCH, *ENGINES):
        faults.append(f"--engine is {AUTO}, {TORCH}, {' or '.join(ENGINES)}; got {engine!r}.")
    faults += _faults_of_urls("--auth", [auth] if auth else [], paths=True)
    faults += _faults_of_urls("--allow_origin", allow_origin, paths=False)
    if not isinstance(train, bool):
        faults.append(f"--train is True or False, got {train!r}.")
    if isinstance(max_upload_mb, bool) or not isinstance(max_upload_mb, int) or max_upload_mb < 1:
        faults.append(f"--max_upload_mb takes a whole number, at least 1; got {max_upload_mb!r}.")
    if faults:
        raise UserFault("\n  ".join(["nothing was started:", *faults]))
    return Serving(
        bundles=named, studies=place, app_dir=app, host=host, port=port, auth=auth, score=tuple(score), train=train,
        allow_origin=tuple(origin.rstrip("/") for origin in allow_origin), max_upload_mb=max_upload_mb,
        also_read=tuple(Path(folder).absolute() for folder in also_read), engine=engine, labels=tuple(labels),
        window=window, plane=plane,
    )  # fmt: skip


def _named_bundles(bundles: Sequence[str], faults: list[str]) -> dict[str, Path]:
    """Folders by name, as typed: a link has its own name, so that linking renames."""
    named: dict[str, Path] = {}
    for bundle in map(str, bundles):
        folder = Path(os.path.abspath(bundle))
        try:
            Bundle.trained(folder)
        except UserFault as fault:
            faults.append(str(fault))
        if folder.name in named:
            faults.append(
                f"Two bundles are called '{folder.name}' ({named[folder.name]} and {folder}); link one of them "
                f"under another name: ln -s {folder} OTHER_NAME."
            )
        faults += _faults_of_name(folder)
        named.setdefault(folder.name, folder)
    return named


def _is_ensemble(folder: Path) -> bool:
    try:
        return not Bundle(folder).capabilities.trains
    except UserFault:  # told already
        return False


def _faults_of_name(folder: Path) -> list[str]:
    name = folder.name
    rename = f"link the bundle under another one: ln -s {folder} OTHER_NAME"
    if not GOOD_NAME.fullmatch(name):
        return [f"Bundle '{name}': models are named with letters, digits, '_', '-' and '.' only; {rename}."]
    kind = next((kind for kind in KINDS if kind in name.lower()), None)
    if kind:
        return [f"Bundle '{name}': MONAI Label would take it for a {kind} model by its name; {rename}."]
    return []


def _studies(studies: str | None, faults: list[str]) -> Path | str | None:
    if studies is None:
        faults.append("--studies FOLDER is missing: the folder with the images, where labels are kept too.")
        return None
    if is_dicomweb(studies):
        faults += _faults_of_urls("--studies", [studies], paths=True)
        return studies
    folder = Path(studies).absolute()
    if not folder.is_dir():
        faults.append(f"--studies '{studies}' is no folder; name the one that holds the images.")
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        faults.append(
            f"--studies '{folder}' can't be written, and labels are kept there; chmod it, or name a copy."
        )
    return folder


def _faults_inside(studies: Path, others: dict[str, Iterable[Path]]) -> list[str]:
    """MONAI Label watches and fills the studies folder; what isn't studies has no place in it."""
    root = studies.resolve()
    return [
        f"The {what} '{path}' lies inside --studies '{studies}', which is for images and labels; move it out."
        for what, paths in others.items()
        for path in paths
        if path.resolve().is_relative_to(root)
    ]


def faults_of_address(host: str, port: object) -> list[str]:
    """Why nothing can listen there, a sentence at most."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        return [f"--port takes a whole number from 1 to 65535, got {port!r}."]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as the server will; elsewhere it would mean sharing the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return [f"--host '{host}' is no known name or address; 127.0.0.1 is this machine alone."]
    except OSError as error:
        return [_reason(error, host, port)]
    return []


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use; stop what listens there, or name another --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine; 127.0.0.1 is this machine alone, 0.0.0.0 every address."
    if error.errno == errno.EACCES:
        return f"Port {port} is reserved for the administrator; name a --port from 1024."
    return f"{host}:{port} can't be listened to ({error.strerror}); name another --host or --port."


def _faults_of_urls(flag: str, urls: Iterable[str], *, paths: bool) -> list[str]:
    faults = []
    for url in urls:
        parts = urlsplit(url)
        has_path = bool(parts.path.strip("/") or parts.query or parts.fragment)
        if parts.scheme not in ("http", "https") or not parts.hostname or (has_path and not paths):
            example = "https://login.example.org/realms/hospital" if paths else "https://viewer.example.org"
            faults.append(f"{flag} takes an address such as {example}, got '{url}'.")
    return faults
