"""Runs bundles for the command line: what is typed is checked first, a user's fault ends as one sentence."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgsam_monai.base.edits import blaming_edits
from pgsam_monai.base.errors import MissingFile, UserFault, root_of
from pgsam_monai.base.locks import TRAINING, keep
from pgsam_monai.bundle import Bundle
from pgsam_monai.configs import data_only, run_configs


def run_bundle(
    run_id: str, bundle: str, configs: list[str], overrides: dict[str, object],
    components: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Run a bundle in this process; a user's fault is its sentence and the command that shows the whole story.

    `components`: entries of its configs that are replaced by config syntax of ours.
    """
    planned = Bundle(bundle, configs=configs, overrides=overrides)
    files = [str(planned.config_file(name)) for name in configs]
    flags = [word for name, value in data_only(overrides).items() for word in (f"--{name}", str(value))]
    flags += [word for name, made in (components or {}).items() for word in (f"--{name}", json.dumps(made))]
    config_file = files[0] if len(files) == 1 else str(files)
    typed = shlex.join(["python", "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *flags])
    print("$", typed, flush=True)
    checkpoints = Path(str(overrides.get("ckpt_dir", planned.folder / "models")))
    if run_id == "training" and checkpoints.is_dir():
        keep(checkpoints, refusal=TRAINING)  # as the config does, but before MONAI takes seconds to import
    try:
        with blaming_edits(planned.folder / "configs", configs):
            run_configs(run_id, files, {"bundle_root": str(planned.folder), **overrides}, components)
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
    if "initial_model" not in Bundle(bundle, configs=["train.json"]).config("train.json"):
        raise UserFault(
            f"Bundle '{bundle}' knows no initial_model, which --from sets; plan it again with pgsam-plan."
        )
    return str(model)


def call_command(command: list[str]) -> None:
    """Run a command, shown first as one could type it; its failure ends this one with its exit status."""
    print("$", shlex.join(["python", *command[1:]]), flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)
