"""Which Python has MONAI Label: it wants numpy below 2 and pydicom below 3, so mostly an environment of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pgsam_monai.base.errors import UserFault

SERIES = "0.8."
"""the releases of MONAI Label that this package is tested with begin so"""
FOLDER = ".venv-label"
OURS, THEIRS = "pgsam-monai", "monailabel"
INSTALL = f"python -m venv {FOLDER} && {FOLDER}/bin/pip install 'pgsam-monai[label]'"
PROBE = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True)
class LabelEnvironment:
    """A Python that can run MONAI Label with this package's bundles."""

    python: Path
    version: str
    """of MONAI Label"""


def find_environment(given: str | Path | None = None) -> LabelEnvironment:
    """The one that was given; else this one, if MONAI Label is in it; else `.venv-label` beside it or right here.

    Args:
        given: an environment's folder, or its Python.

    Raises:
        ValueError: none has MONAI Label, or it has another release of it or of this package.
    """
    if given is not None:
        return _checked(_python_of(Path(given)) or _refuse_folder(Path(given)))
    if importlib.util.find_spec(THEIRS) is not None:
        return _checked(Path(sys.executable))
    candidates = [folder / FOLDER for folder in dict.fromkeys((Path(sys.prefix).parent, Path.cwd()))]
    for folder in candidates:
        if (python := _python_of(folder)) is not None:
            return _checked(python)
    looked = " nor ".join(str(folder) for folder in candidates)
    raise UserFault(
        f"MONAI Label is neither in this environment nor in {looked}. In a checkout `make label` makes one; "
        f"elsewhere: {INSTALL}; then, if it lies elsewhere, --environment FOLDER."
    )


def _python_of(place: Path) -> Path | None:
    """An environment's Python; links stay, since a venv's own is a link to the one that made it."""
    names = ("bin/python", "Scripts/python.exe", "python.exe")
    candidates = [place] if place.is_file() else [place / name for name in names]
    return next((path.absolute() for path in candidates if path.is_file()), None)


def _refuse_folder(folder: Path) -> Path:
    raise UserFault(
        f"--environment '{folder}' is no Python environment (no bin/python in it); make one: {INSTALL}"
    )


def _checked(python: Path) -> LabelEnvironment:
    versions = _versions(python)
    if versions[THEIRS] is None:
        raise UserFault(
            f"{python} has no MONAI Label; install it there: {python} -m pip install 'pgsam-monai[label]'"
        )
    if not versions[THEIRS].startswith(SERIES):
        raise UserFault(
            f"{python} has MONAI Label {versions[THEIRS]}, and bundles are served with {SERIES}x; "
            f"install it: {python} -m pip install 'pgsam-monai[label]'"
        )
    own = _own_version()
    if versions[OURS] != own:
        raise UserFault(
            f"{python} has pgsam-monai {versions[OURS] or 'not at all'}, this is {own}; both must be the same: "
            f"{python} -m pip install 'pgsam-monai[label]=={own}' (in a checkout: make label)"
        )
    return LabelEnvironment(python=python, version=versions[THEIRS])


def _versions(python: Path) -> dict[str, str | None]:
    command = [str(python), "-I", "-c", PROBE, THEIRS, OURS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise UserFault(f"{python} doesn't run ({reason}); make the environment anew: {INSTALL}") from error


def _own_version() -> str | None:
    try:
        return metadata.version(OURS)
    except metadata.PackageNotFoundError:
        return None
