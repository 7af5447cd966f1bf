"""Configs that a person has edited after they were planned: that is what they are for, and a run that fails says so."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pgsam_monai.base.capabilities import METADATA_KEY
from pgsam_monai.base.errors import UserFault, root_of, system_sentence
from pgsam_monai.base.json_files import read_json

PLANNED = "planned_files"
"""Under METADATA_KEY in metadata.json: config file -> digest of its text as it was planned."""


def digest_of(text: str) -> str:
    """Of a config's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def edited_configs(configs: Path) -> list[str]:
    """The files of a bundle's configs folder that aren't as they were planned, as far as metadata.json tells."""
    try:
        planned = read_json(configs / "metadata.json", remedy="")[METADATA_KEY][PLANNED]
        return [name for name, digest in planned.items() if _digest(configs / name) != digest]
    except (UserFault, KeyError, TypeError, AttributeError):
        return []


def _digest(file: Path) -> str | None:
    try:
        return digest_of(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def blaming_edits(configs: Path, used: Collection[str]) -> Iterator[None]:
    """Within it, a fault that nobody foresaw is laid to those used files of a bundle's configs folder that were edited.

    Raises:
        UserFault: the fault, with the edited files and the remedy.
    """
    try:
        yield
    except Exception as fault:
        root = root_of(fault)
        edited = [name for name in edited_configs(configs) if name in used]
        if isinstance(root, UserFault) or system_sentence(fault) or not edited:
            raise
        raise UserFault(
            f"{' and '.join(edited)} in '{configs}' {'was' if len(edited) == 1 else 'were'} edited, and can't be run: "
            f"{_words(root)}. Undo the edit, or write the bundle again: pgsam-plan --from_plan {configs / 'plan.json'}"
        ) from fault


def _words(fault: BaseException) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {' '.join(lines[:2])[:300]}".rstrip(". :")


def planned_digests(texts: Mapping[str, str]) -> dict[str, str]:
    """What stands under `PLANNED`, of config files by name."""
    return {name: digest_of(text) for name, text in texts.items()}
