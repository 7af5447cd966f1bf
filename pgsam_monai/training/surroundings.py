"""What a bundle's config asks about its surroundings: where it lies, and whether weights lie beside it."""

from __future__ import annotations

import ast
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
    values = [part for argument in arguments for part in (argument, argument.partition("=")[2])]
    paths = [Path(name) for value in values for name in _listed(value) if name.endswith(".json")]
    return [path.parent.parent for path in paths if path.parent.name == CONFIG_FOLDER]


def _listed(argument: str) -> list[str]:
    """The texts of an argument that is a list of them, as python-fire reads "['a','b']" and "[a,b]"; else itself."""
    if not (argument.startswith("[") and argument.endswith("]")):
        return [argument]
    try:
        content = ast.literal_eval(argument)
        return [name for name in content if isinstance(name, str)]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [name.strip("'\" ") for name in argument[1:-1].split(",")]


def weights_folder(bundle_root: str) -> str | None:
    """The bundle's own weights folder, where its large_files.yml puts downloads; None (the user's cache) without it."""
    folder = Path(bundle_root) / "weights"
    return str(folder) if folder.is_dir() else None
