"""Starts MONAI Label with bundles: its command, its environment variables, what the user is told."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pgsam_monai.base.addresses import is_loopback
from pgsam_monai.base.files import visible
from pgsam_monai.label.fields import is_dicomweb
from pgsam_monai.label.launch.app_folder import LOG_SETTINGS, SESSIONS, WORKING, hold_app, log_file, write_app
from pgsam_monai.label.launch.environment import LabelEnvironment
from pgsam_monai.label.launch.serving import Serving
from pgsam_monai.label.own_bundles import BUNDLES, WEIGHTS, own_bundles
from pgsam_monai.label.temporary import own_temporary, sweep_temporary

SERVER_MODULE, UVICORN_APP = "pgsam_monai.label.http.main", "pgsam_monai.label.http.server:app"
AUTH_ON, ORIGINS = "MONAI_LABEL_AUTH_ENABLE", "MONAI_LABEL_CORS_ORIGINS"
"""settings of MONAI Label; it can't write the second one to its log and ends"""
TEMPORARY = "TMPDIR"
EVERYWHERE = ("0.0.0.0", "::")
LISTED = (".nii.gz", ".nii", ".nrrd", ".jpg", ".png", ".tif")
"""endings of the files that MONAI Label lists as studies"""


def start(serving: Serving, environment: LabelEnvironment, *, dry_run: bool = False) -> None:
    """Make the app folder and become the server, which keeps this process's id: who stops one stops the other.

    Raises:
        ValueError: the app folder can't be made, or another server has it.
    """
    command = server_command(serving, environment)
    variables = server_variables(serving, environment, os.environ)
    for line in warnings_of(serving, os.environ):
        print(f"warning: {line}", file=sys.stderr)
    print(summary(serving, environment))
    if dry_run:
        changed = {name: value for name, value in variables.items() if os.environ.get(name) != value}
        print("\nNot started. The command, from the folder", serving.app_dir / WORKING)
        print(*(f"{name}={shlex.quote(value)}" for name, value in sorted(changed.items())), sep=" \\\n")
        print(shlex.join(command))
        return
    if os.name == "posix":
        hold_app(serving.app_dir)
        sweep_temporary()
        variables[TEMPORARY] = str(own_temporary())
    write_app(serving.app_dir, serving.bundles)
    sys.stdout.flush()
    sys.stderr.flush()
    # From an empty folder: MONAI Label reads settings from a `.env` in its working folder, whoever put it there.
    os.chdir(serving.app_dir / WORKING)
    if os.name == "posix":
        os.execve(command[0], command, variables)
    sys.exit(subprocess.run(command, env=variables, check=False).returncode)


def server_command(serving: Serving, environment: LabelEnvironment) -> list[str]:
    """MONAI Label's own start, with our application in place of its own."""
    settings = {
        "models": ",".join(serving.bundles),
        "zoo_source": "local",
        "sam2": "false",
        "train": str(serving.train).lower(),
        "score": ",".join(serving.score),
        "host": serving.host,
        "max_upload_mb": str(serving.max_upload_mb),
        "allow_origin": ",".join(serving.allow_origin),
        "engine": serving.engine,
        "also_read": os.pathsep.join(map(str, serving.also_read)),
        # As JSON: names may hold any sign, and a window that begins with a minus would be taken for a flag.
        "labels": json.dumps(serving.labels),
        "window": json.dumps(serving.window),
        "plane": serving.plane or "",
    }
    confs = [word for name, value in settings.items() for word in ("--conf", name, value)]
    return [
        str(environment.python), "-m", SERVER_MODULE, "start_server", "--app", str(serving.app_dir),
        "--studies", str(serving.studies), "--host", serving.host, "--port", str(serving.port),
        "--uvicorn_app", UVICORN_APP, "--log_config", str(serving.app_dir / LOG_SETTINGS), *confs,
    ]  # fmt: skip


def server_variables(
    serving: Serving, environment: LabelEnvironment, given: Mapping[str, str]
) -> dict[str, str]:
    """The user's own environment, with what the flags say, and with what keeps the server to this machine.

    What the user has set stays: MONAI Label has more settings than `pgsam label` has flags.
    """
    ours = {
        "MONAI_ZOO_SOURCE": "local",
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_LABEL_SESSION_PATH": str(serving.app_dir / SESSIONS),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        # Requests come in ever new threads, and glibc would keep what each had freed for threads that never come.
        "MALLOC_ARENA_MAX": "2",
    }
    flags = {"MONAI_LABEL_AUTO_UPDATE_SCORING": str(bool(serving.score)).lower()}
    if serving.auth:
        flags |= {AUTH_ON: "true", "MONAI_LABEL_AUTH_REALM_URI": serving.auth.rstrip("/")}
    programs = [str(environment.python.parent), given.get("PATH", os.defpath)]
    # Its parts talk to each other over loopback, which a proxy would carry elsewhere.
    direct = ",".join(filter(None, [given.get("no_proxy") or given.get("NO_PROXY"), "127.0.0.1,localhost"]))
    always = {"PATH": os.pathsep.join(programs), "NO_PROXY": direct, "no_proxy": direct}
    found = {**ours, **given, **always, **flags}
    found.pop(ORIGINS, None)
    return found


def warnings_of(serving: Serving, given: Mapping[str, str]) -> list[str]:
    """What the operator should know before others do; `given` is the user's environment."""
    found = []
    if ORIGINS in given:
        found.append(f"{ORIGINS} is left out, because MONAI Label doesn't start with it; say --allow_origin.")
    with_auth = serving.auth or given.get(AUTH_ON, "").lower() in ("true", "1", "yes", "on")
    if not is_loopback(serving.host) and not with_auth:
        found.append(
            f"{serving.host} is reached from other machines and nobody is asked who they are: everybody who reaches "
            f"port {serving.port} can read the studies, replace labels, run and train models. Use --auth "
            "REALM_URI, or --host 127.0.0.1 behind a server that asks."
        )
    if not is_loopback(serving.host):
        found.append(
            "The connection isn't encrypted; on a network that others use, put a server with TLS before it."
        )
    if is_dicomweb(serving.studies):
        found.append(
            "With a DICOMweb server MONAI Label keeps copies of its series in your cache folder, and fetches the tool "
            "dcmqi from github.com at the first start, unless its itkimage2segimage is in PATH."
        )
    elif not _listed(serving.studies):
        found.append(
            f"No image lies in '{serving.studies}' itself, and MONAI Label doesn't look into its sub-folders; "
            f"images end in {', '.join(LISTED)}, DICOM series are asked for by the names of their folders."
        )
    return found


def summary(serving: Serving, environment: LabelEnvironment) -> str:
    """What is served where, and what to do with it."""
    address = address_of(serving)
    studies = str(serving.studies)
    if isinstance(serving.studies, Path):
        count = len(_listed(serving.studies))
        studies += f"  ({count} {'image' if count == 1 else 'images'})"
    models = [f"{name}  ({place})" for name, place in serving.bundles.items()] + _from_nothing(serving)
    rows = [
        *(("Model" if number == 0 else "", text) for number, text in enumerate(models)),
        ("Studies", studies),
        ("Training", _training(serving)),
        ("Server", f"MONAI Label {environment.version} with {environment.python}"),
        ("Address", address),
        ("Health", f"{address}/health"),
        ("Log", str(log_file(serving.app_dir))),
        ("3D Slicer", f"module 'MONAI Label', server address {address}"),
        ("Stop", f"Ctrl-C, or: kill {os.getpid()}"),
    ]
    return "\n".join(f"{name:10} {text}" for name, text in rows)


def _from_nothing(serving: Serving) -> list[str]:
    """Our own weights, and what was trained from labels made with them."""
    if not serving.labels:
        return []
    own = [
        f"{name}  ({place})"
        for name, place in own_bundles(serving.app_dir).items()
        if name not in serving.bundles
    ]
    return [f"{WEIGHTS}_deepedit, {WEIGHTS}_deepgrow  (clicks and boxes: {', '.join(serving.labels)})", *own]


def _training(serving: Serving) -> str:
    if not serving.train:
        return "off"
    made = f"; bundles made from nothing go to {serving.app_dir / BUNDLES}" if serving.labels else ""
    return f"by clients{made}"


def address_of(serving: Serving) -> str:
    """The address that clients type."""
    host = socket.gethostname() if serving.host in EVERYWHERE else serving.host
    return f"http://{f'[{host}]' if ':' in host else host}:{serving.port}"


def _listed(studies: Path) -> list[str]:
    return [path.name for path in visible(studies) if path.name.endswith(LISTED) and path.is_file()]
