"""Texts of the cases that are predicted, from a file that `pgsam describe --each case` or a person wrote."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.bundle import Bundle
from pgsam_monai.texts.case_file import read_case_file


def texts_of_cases(
    bundle: Bundle, file: str | Path, cases: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, list[str]]]:
    """Case -> class name -> alternative texts, of those `cases` that have an entry; says how many these are.

    Entries of slices aren't read: all slices of a case are predicted with the same texts.

    Raises:
        MissingFile: no such file.
        UserFault: the bundle reads no texts of classes, or the file isn't of its classes.
    """
    bundle.require_class_texts("--case_texts")
    entries = read_case_file(file, bundle.names)
    found = {case["name"]: entries[case["name"]] for case in cases if entries.get(case["name"])}
    others = (
        "" if len(found) == len(cases) else "; for the others the network reads the bundle's texts of classes"
    )
    tqdm.write(f"note: {len(found)} of {len(cases)} cases have texts in '{file}'{others}.", file=sys.stderr)
    return found
