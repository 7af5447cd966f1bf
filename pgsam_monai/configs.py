"""The one way by which values enter MONAI configs: as data, never as syntax (`base.config_values`).

A bundle's own config files are code, and are evaluated; whatever is set over them here (folders, names, what was typed,
what a request says) comes out of the config as it went in. `tests/test_config_entry.py` keeps everything else out of
`monai.bundle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.config_values import as_data, literal

if TYPE_CHECKING:
    from monai.bundle import ConfigParser, ConfigWorkflow


def read_configs(files: Sequence[str | Path], values: Mapping[str, Any]) -> ConfigParser:
    """A parser of config files, later ones replacing entries of earlier ones; nothing is built yet.

    Args:
        files: JSON files.
        values: set over their entries: what is JSON comes back as it is here, other objects as themselves.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update(data_only(values))
    return parser


def set_component(parser: ConfigParser, entry: str, component: Mapping[str, Any]) -> None:
    """Replace an entry by a component of ours: {"_target_": …} with arguments that nobody else has chosen."""
    parser[entry] = dict(component)


def run_configs(
    run_id: str, files: Sequence[str | Path], values: Mapping[str, Any], components: Mapping[str, Any] | None = None
) -> None:  # fmt: skip
    """As `python -m monai.bundle run RUN_ID`, in this process; `components` as of `training_workflow`."""
    from monai.bundle import run

    run(run_id, config_file=[str(file) for file in files], **data_only(values), **(components or {}))


def training_workflow(
    config_file: str | Path, meta_file: str | Path, values: Mapping[str, Any], components: Mapping[str, Any]
) -> ConfigWorkflow:
    """MONAI's workflow of a bundle's training, which logs as this process does.

    Args:
        config_file, meta_file: of the bundle.
        values: see `read_configs`.
        components: entries that are replaced by config syntax of ours, in which nobody else has a say.
    """
    from monai.bundle import ConfigWorkflow

    return ConfigWorkflow(
        config_file=str(config_file), meta_file=str(meta_file), logging_file=False, workflow_type="train",
        run_id="training", **data_only(values), **components,
    )  # fmt: skip


def data_only(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they may stand in a config."""
    # MONAI leaves out what is set to None
    return {name: literal(None) if value is None else as_data(value) for name, value in values.items()}
