"""What is noted beside imported weights of which no hash was published: their own, checked from then on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.weights import Weights


def with_note(record: Weights, file: Path) -> Weights:
    """`record` with the size and hash that were noted when `file`, of which none are published, was imported.

    Raises:
        UserFault: there is no such note, or it can't be read.
    """
    try:
        noted = read_json(_note(file), remedy="import the weights again")
        return replace(record, sha256=str(noted["sha256"]), size_bytes=int(noted["size_bytes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserFault(
            f"Weights '{record.name}': '{file}' lies there without a readable '{_note(file).name}', which holds its "
            f"hash; run `pgsam weights import {file} --as {record.name}`."
        ) from error


def write_note(record: Weights, file: Path) -> None:
    """Note size and hash of `record`, which are those of `file`."""
    note = {"name": record.name, "sha256": record.sha256, "size_bytes": record.size_bytes}
    write_text(_note(file), json.dumps(note, indent=4) + "\n")


def noted_digest(file: Path) -> str | None:
    """The hash that a file had when it was imported, which it may have lost."""
    try:
        return json.loads(_note(file).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")
