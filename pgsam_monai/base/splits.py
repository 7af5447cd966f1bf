"""splits.json, read: which cases there are, where their files lie, who trains, validates and tests.

A person may have edited it, or sent it. Files are named by its cases, so that a case's name is no path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pgsam_monai.base.cases import FILE, VALUES
from pgsam_monai.base.json_files import DamagedFile, read_json

NAMES = {"type": "array", "items": {"type": "string"}}
PATH = {"type": "string", "minLength": 1}
PATHS = {"anyOf": [PATH, {"type": "array", "minItems": 1, "items": PATH}]}
MASKS = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": "^[0-9]+$"},
    "additionalProperties": PATH,
}
"""of a label by the values of its classes"""
WITH_VALUES = {
    "type": "object",
    "required": [FILE, VALUES],
    "additionalProperties": False,
    "properties": {
        FILE: PATHS,
        VALUES: {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]+$"},
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        },
    },
}
"""of a label of merged data sets: the file's values and what they are here"""
CASE_NAME = {"pattern": r"^(?!\.)[^/\\\u0000-\u001f]{1,240}$"}
CASE = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": PATHS,
        "label": {"anyOf": [*PATHS["anyOf"], MASKS, WITH_VALUES, {"type": "null"}]},
        "labels": {"type": "array", "items": {"type": "integer"}},
        "labelled": {"type": "array", "items": {"type": "integer"}},
        "slices": {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}},
        "subject": {"type": "string", "minLength": 1},
    },
}
FOLD = {
    "type": "object",
    "required": ["training", "validation"],
    "properties": {"training": NAMES, "validation": NAMES},
}
SCHEMA = {
    "required": ["seed", "cases", "folds", "test"],
    "properties": {
        "schema_version": {"const": 1},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**31},
        "few_shot": {"type": ["object", "null"], "required": ["spec", "level"]},
        "subjects": {
            "type": "object",
            "required": ["rule", "reason"],
            "additionalProperties": {"type": "string"},
        },
        "cases": {"type": "object", "propertyNames": CASE_NAME, "additionalProperties": CASE},
        "folds": {"type": "array", "minItems": 1, "items": FOLD},
        "test": NAMES,
        "note": {"type": "string"},
    },
}


def read_splits(file: str | Path, *, remedy: str) -> dict[str, Any]:
    """The content of a splits.json.

    Args:
        file: any.
        remedy: what the user should do if it is damaged, as the end of a sentence.

    Raises:
        MissingFile: there is none.
        DamagedFile: it isn't what `SCHEMA` says, or lists a case that it doesn't describe.
    """
    splits = read_json(file, remedy=remedy, schema=SCHEMA)
    folds = [names for fold in splits["folds"] for names in (fold["training"], fold["validation"])]
    listed = {name for names in (*folds, splits["test"]) for name in names}
    if unknown := sorted(listed - splits["cases"].keys()):
        raise DamagedFile(file, f"'{unknown[0]}' is listed, and is none of its cases", remedy)
    return splits


def by_subject(cases: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[str]]:
    """Subject -> those of `names` that show it, in their order. A case whose entry has no subject is one of its own.

    Args:
        cases: the entry "cases" of a splits.json.
        names: of some of them.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(cases[name].get("subject", name), []).append(name)
    return found
