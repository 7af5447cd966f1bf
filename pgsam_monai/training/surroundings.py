"""What a bundle's config asks about its surroundings: where it lies, and whether weights lie beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pgsam_monai.base.errors import MissingFile

CONFIG_FOLDER = "configs"


def find_bundle_root(name: str, arguments: Sequence[str] | None = None) -> str:
    """The bundle's folder, wherever the command was typed.

    A MONAI config does not learn its own path. Looked for, in order: the folder of the `--config_file` on the
    command line, `bundles/NAME` and the working folder itself.

    Raises:
        FileNotFoundError: none of them is the bundle.
    """
    candidates = [
        *_config_folders(sys.argv if arguments is None else arguments),
        Path("bundles") / name,
        Path("."),
    ]
    for folder in candidates:
        if (folder / CONFIG_FOLDER / "metadata.json").is_file():
            return str(folder)
    looked = ", ".join(str(folder) for folder in candidates)
    raise MissingFile(
        f"Bundle '{name}' was not found from {Path.cwd()} (looked in {looked}); "
        "give its folder as --bundle_root /path/to/bundle."
    )


def _config_folders(arguments: Sequence[str]) -> list[Path]:
    """Bundle folders named by the arguments that are, or list, a path ending in configs/*.json."""
    values = [argument.split("=", 1)[-1] for argument in arguments]
    files = [name.strip("'\" ") for value in values for name in value.strip("[]").split(",")]
    paths = [Path(name) for name in files if name.endswith(".json")]
    return [path.parent.parent for path in paths if path.parent.name == CONFIG_FOLDER]


def weights_folder(bundle_root: str) -> str | None:
    """The bundle's own weights folder, where its large_files.yml puts downloads; None (the user's cache) without it."""
    folder = Path(bundle_root) / "weights"
    return str(folder) if folder.is_dir() else None
