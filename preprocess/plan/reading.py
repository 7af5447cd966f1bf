"""A plan folder's files, read again: they may have been edited, damaged, or sent by somebody, and are checked whole.

Whatever passes here is data. It enters a bundle's configs as data (`base.config_values`), so that a plan, unlike a
bundle, can be read from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.json_files import made_of, read_json
from preprocess.networks import NETWORK_RULES
from preprocess.plan.kinds import kind_of
from preprocess.plan.records import Plan, without_retired
from preprocess.recipes import load_recipe
from preprocess.rules import OVERRIDE, RECIPE, RULE, SHARED_RULES, Decision
from preprocess.splits.records import Splits

REMEDY = "undo the edit, or plan the data set again"
TEXT = {"type": "string", "maxLength": 100_000}
NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_\-]{0,199}$"}
"""Of a data set: bundles and folders are named by it."""
CASE_NAME = {"pattern": r"^(?!\.)[^/\\\u0000-\u001f]{1,240}$"}
"""Files are named by it."""
FILES = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string", "minLength": 1}},
    ]
}
NAMES = {"type": "array", "items": {"type": "string"}}
DECISION = {
    "type": "object",
    "required": ["value"],
    "properties": {
        "reason": TEXT,
        "source": {"enum": [RULE, RECIPE, OVERRIDE]},
        "set_by": TEXT,
        "planned": {
            "type": "object",
            "required": ["value"],
            "properties": {"reason": TEXT, "source": {"enum": [RULE, RECIPE]}, "planned": False},
        },
    },
}
DECISIONS = {"type": "object", "additionalProperties": DECISION}
PLAN = {
    "required": ["schema_version", "created_by", "dataset", "decisions", "configurations"],
    "properties": {
        "created_by": TEXT,
        "recipe": {"type": ["string", "null"]},
        "dataset": {
            "type": "object",
            "required": ["name", "folder", "layout", "file_format", "channels", "num_cases", "skipped"],
            "properties": {
                "name": NAME,
                "folder": TEXT,
                "layout": TEXT,
                "file_format": TEXT,
                "channels": NAMES | {"minItems": 1, "maxItems": 1000},
                "num_cases": {"type": "integer", "minimum": 0},
                "skipped": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["case", "reason"],
                        "properties": {"case": TEXT, "reason": TEXT},
                    },
                },
            },
        },
        "decisions": DECISIONS,
        "configurations": {"type": "object", "minProperties": 1, "additionalProperties": DECISIONS},
    },
}
SPLITS = {
    "required": ["schema_version", "seed", "few_shot", "cases", "folds", "test"],
    "properties": {
        "schema_version": {"const": 1},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**31},
        "note": TEXT,
        "few_shot": {
            "anyOf": [
                {"type": "null"},
                {"type": "object", "required": ["spec"], "properties": {"spec": {"type": "string"}}},
            ]
        },
        "cases": {
            "type": "object",
            "propertyNames": CASE_NAME,
            "additionalProperties": {
                "type": "object",
                "required": ["image", "label"],
                "properties": {
                    "image": FILES,
                    "label": {"anyOf": [{"type": "null"}, FILES]},
                    "labels": {"type": "array", "items": {"type": "integer"}},
                },
            },
        },
        "folds": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["training", "validation"],
                "properties": {"training": NAMES, "validation": NAMES},
            },
        },
        "test": NAMES,
    },
}


def read_plan(file: Path) -> tuple[Plan, list[str]]:
    """A plan.json, and the names of its decisions that are no longer taken and were left out.

    Raises:
        UserFault: it is damaged, of another version, for an unknown network, or a value is none that its decision can
            take.
    """
    record = read_json(file, remedy=REMEDY)
    Plan.require_version(record)
    plan, gone = without_retired(
        made_of(read_json(file, remedy=REMEDY, schema=PLAN), Plan.from_json, file=file, remedy=REMEDY)
    )
    published = _published(plan, file)
    _check_decisions(plan.decisions, SHARED_RULES, None, published, file)
    for network, entries in plan.configurations.items():
        _check_decisions(entries, NETWORK_RULES[network], network, published, file)
    return plan, gone


def read_splits(file: Path) -> Splits:
    """A splits.json.

    Raises:
        UserFault: it is damaged, or lists a case that it doesn't describe.
    """
    splits = made_of(
        read_json(file, remedy=REMEDY, schema=SPLITS), Splits.from_json, file=file, remedy=REMEDY
    )
    listed = {*splits.test, *(name for fold in splits.folds for name in (*fold.training, *fold.validation))}
    unknown = sorted(listed - set(splits.cases))
    if unknown:
        raise UserFault(
            f"'{file}' lists {', '.join(unknown[:3])}, which is none of its {len(splits.cases)} cases; {REMEDY}."
        )
    return splits


def _check_decisions(
    entries: Mapping[str, Decision],
    rules: Mapping[str, Any],
    network: str | None,
    published: Mapping[str, Any],
    file: Path,
) -> None:
    own = f"{network}." if network else ""
    lacking = [name for name in rules if name not in entries]
    if lacking:
        raise UserFault(f"'{file}' lacks the decision {own}{lacking[0]}; {REMEDY}.")
    for name, decision in entries.items():
        for value in (decision.value, *([decision.planned.value] if decision.planned else [])):
            kind = kind_of(name, network)
            if not kind.allows(value) and published.get(f"{own}{name}", ...) != value:
                raise UserFault(
                    f"'{file}': {own}{name} must be {kind.what}, got {str(value)[:80]}; {REMEDY}."
                )


def _published(plan: Plan, file: Path) -> dict[str, Any]:
    """The values of the plan's recipe, which may be such as nobody can ask for: one fold."""
    if plan.recipe is None:
        return {}
    try:
        recipe = load_recipe(plan.recipe)
    except UserFault as fault:
        raise UserFault(f"'{file}' names an unknown recipe, {plan.recipe!r}; {REMEDY}.") from fault
    shared = {**recipe.unmeasured, **recipe.decisions}
    own = {
        f"{network}.{name}": decision.value
        for network, entries in recipe.configurations.items()
        for name, decision in entries.items()
    }
    return {name: decision.value for name, decision in shared.items()} | own
