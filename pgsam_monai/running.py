"""Runs bundles for the command line: what is typed is checked first, a user's fault ends as one sentence."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.command_line import check_known
from pgsam_monai.base.errors import MissingFile, UserFault, root_of


def run_bundle(run_id: str, bundle: str, configs: list[str], overrides: dict[str, object]) -> None:
    """Run a bundle in this process; a user's fault is its sentence and the command that shows the whole story."""
    root = Path(bundle)
    missing = [name for name in configs if not (root / "configs" / name).is_file()]
    if missing:
        raise MissingFile(f"'{bundle}' is no bundle (no configs/{missing[0]}); plan one with pgsam-plan.")
    files = [str(root / "configs" / name) for name in configs]
    flags = [word for name, value in overrides.items() for word in (f"--{name}", str(value))]
    config_file = files[0] if len(files) == 1 else str(files)
    typed = shlex.join(["python", "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *flags])
    print("$", typed, flush=True)
    check_overrides(overrides, files)
    from monai.bundle import run

    try:
        run(run_id, config_file=files, bundle_root=str(root), **overrides)
    except KeyboardInterrupt:
        kept = f" Finished epochs are kept; go on with: pgsam train {bundle} --resume"
        sys.exit(f"pgsam: interrupted.{kept if run_id == 'training' else ''}")
    except Exception as fault:
        root = root_of(fault)  # MONAI wraps what a config's components raise several times
        if not isinstance(root, UserFault):
            raise
        sys.exit(f"pgsam: {run_id} failed: {root}\nThe whole traceback: {typed}")


def initial_model(bundle: str, start: str, *, resume: bool) -> str:
    """The file that `pgsam train BUNDLE --from START` starts from: the other bundle's model.pt.

    Raises:
        FileNotFoundError: the other bundle has no model.
        ValueError: together with --resume, or the bundle's train.json can't start from a model.
    """
    if resume:
        raise UserFault("--from begins a training and --resume goes on with one; give one of them.")
    model = Path(start) / "models/model.pt"
    if not model.is_file():
        raise MissingFile(
            f"'{start}' has no models/model.pt to start from; train it first: pgsam train {start}"
        )
    config = Path(bundle) / "configs/train.json"
    if config.is_file() and "initial_model" not in json.loads(config.read_text()):
        raise UserFault(
            f"Bundle '{bundle}' knows no initial_model, which --from sets; plan it again with pgsam-plan."
        )
    return str(model)


def check_overrides(overrides: Mapping[str, object], files: Sequence[str | Path]) -> None:
    """MONAI takes an override of a value that no config has, and then nothing happens; here it is a fault."""
    known = {key for file in files for key in json.loads(Path(file).read_text())}
    for name in overrides:
        check_known(name.replace("::", "#").split("#")[0], known)


def call_command(command: list[str]) -> None:
    """Run a command, shown first as one could type it; its failure ends this one with its exit status."""
    print("$", shlex.join(["python", *command[1:]]), flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)
