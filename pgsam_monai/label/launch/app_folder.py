"""The folder that MONAI Label calls an app: links to the bundles, `main.py`, settings of the log, the log."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pgsam_monai.base.errors import UserFault

MARK = "# Written by `pgsam label`, anew at each start."
MAIN = f"""{MARK}
from pgsam_monai.label.app import PgsamApp

__all__ = ["PgsamApp"]
"""
MAIN_FILE, MODELS, LOGS, LOG_SETTINGS, LOCK = "main.py", "model", "logs", "logging.json", ".lock"
WORKING = "work"
"""the server's working folder, empty: MONAI Label takes a study's name for a path if something there is called so"""
SESSIONS = "sessions"
"""images that clients have sent, for some requests"""
LOG_BYTES, OLD_LOGS = 10 << 20, 10


def default_app_dir(studies: Path | str) -> Path:
    """One per place of studies, in the user's cache: `~/.cache/pgsam_monai/label/<name>-<hash of path or address>`."""
    place = studies if isinstance(studies, str) else str(studies.resolve())
    name = re.sub(r"[^\w-]+", "_", place.rstrip("/").rpartition("/")[2]) or "studies"
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:8]
    return Path.home() / ".cache" / "pgsam_monai" / "label" / f"{name}-{digest}"


def log_file(app_dir: Path) -> Path:
    """Where the server logs; MONAI Label's /logs/ reads this one."""
    return app_dir / LOGS / "app.log"


def faults_of_app_dir(app_dir: Path, names: Iterable[str]) -> list[str]:
    """Why `write_app` would have to replace what isn't ours, in sentences; nothing is touched."""
    if app_dir.exists() and not app_dir.is_dir():
        return [f"--app_dir '{app_dir}' is a file; name a folder, which may be new."]
    faults = []
    main = app_dir / MAIN_FILE
    if main.exists() and not main.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        faults.append(
            f"--app_dir '{app_dir}' holds a main.py that pgsam label didn't write; name another folder."
        )
    for name in names:
        place = app_dir / MODELS / name
        if place.exists() and not place.is_symlink():
            faults.append(f"'{place}' is no link; move it away, or name another --app_dir.")
    return faults


def write_app(app_dir: Path, bundles: Mapping[str, Path]) -> None:
    """Make or renew the folder: links of earlier bundles go, logs stay.

    Raises:
        ValueError: it can't be written, or links can't be made in it.
    """
    models = app_dir / MODELS
    try:
        for folder in (models, app_dir / LOGS, app_dir / WORKING):
            folder.mkdir(parents=True, exist_ok=True)
        for old in (path for path in models.iterdir() if path.is_symlink()):
            old.unlink()
        for session in (app_dir / SESSIONS).glob("*"):
            if not (session / "meta.info").is_file():  # half received; MONAI Label would not start with it
                shutil.rmtree(session)
        (app_dir / MAIN_FILE).write_text(MAIN, encoding="utf-8")
        settings = json.dumps(_log_settings(log_file(app_dir)), indent=2)
        (app_dir / LOG_SETTINGS).write_text(settings, encoding="utf-8")
    except OSError as error:
        raise _unwritable(app_dir, error) from error
    for name, bundle in bundles.items():
        try:
            (models / name).symlink_to(bundle, target_is_directory=True)
        except OSError as error:
            raise UserFault(
                f"Bundles are linked into '{models}', and no link can be made there ({error.strerror}); "
                "name an --app_dir on a disk that has links."
            ) from error


def hold_app(app_dir: Path) -> int:
    """Keep the folder to one server; returns the descriptor that holds it, through an exec too.

    Raises:
        ValueError: another server has it, or it can't be written.
    """
    import fcntl

    try:
        app_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(app_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(app_dir, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise UserFault(
            f"These studies are served already, by process {holder}; stop it first (kill {holder}), or name "
            "another --app_dir for a second server on the same studies."
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.set_inheritable(descriptor, True)
    return descriptor


def _unwritable(app_dir: Path, error: OSError) -> ValueError:
    return ValueError(f"'{app_dir}' can't be written ({error.strerror}); name another --app_dir.")


def _log_settings(file: Path) -> dict:
    """For `logging.config`. One handler writes the file: of two, one would go on in a file that the other rotated."""
    line = "[%(asctime)s] [%(process)d] [%(levelname)s] (%(name)s) %(message)s"
    handlers = {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        "file": {
            "class": "logging.handlers.RotatingFileHandler", "formatter": "line", "filename": str(file),
            "maxBytes": LOG_BYTES, "backupCount": OLD_LOGS, "encoding": "utf-8",
        },
    }  # fmt: skip
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": line}},
        "handlers": handlers,
        "root": {"level": "INFO", "handlers": list(handlers)},
        "loggers": {"urllib3.connectionpool": {"level": "ERROR"}, "uvicorn.access": {"level": "WARNING"}},
    }
