"""A plan folder's files, read again: they may have been edited, damaged, or sent by somebody, and are checked whole.

Whatever passes here is data. It enters a bundle's configs as data (`base.config_values`), so that a plan, unlike a
bundle, can be read from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgsam_monai.base import splits as base_splits
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.json_files import made_of, read_json, require_schema
from preprocess.networks import NETWORK_RULES
from preprocess.plan.kinds import kind_of
from preprocess.plan.records import Plan, with_later, without_retired
from preprocess.recipes import load_recipe
from preprocess.rules import OVERRIDE, RECIPE, RULE, SHARED_RULES, Decision
from preprocess.splits.records import Splits

REMEDY = "undo the edit, or plan the data set again"
TEXT = {"type": "string", "maxLength": 100_000}
NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_\-]{0,199}$"}
"""Of a data set: bundles and folders are named by it."""
VALUE = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
REGION = {"type": "array", "minItems": 1, "items": VALUE}
PART = {
    "type": "object",
    "required": ["name", "folder", "layout"],
    "properties": {
        "name": NAME,
        "folder": TEXT,
        "layout": TEXT,
        "background": VALUE,
        "values": {"type": "object", "additionalProperties": VALUE},
    },
}
DEPARTURE = {
    "type": "object",
    "required": ["what", "theirs", "ours", "why"],
    "additionalProperties": TEXT,
}
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
        "departures": {"type": "array", "items": DEPARTURE},
        "dataset": {
            "type": "object",
            "required": ["name", "folder", "layout", "file_format", "channels", "num_cases", "skipped"],
            "properties": {
                "name": NAME,
                "folder": TEXT,
                "layout": TEXT,
                "file_format": TEXT,
                "channels": base_splits.NAMES | {"minItems": 1, "maxItems": 1000},
                "num_cases": {"type": "integer", "minimum": 0},
                "parts": {"type": "array", "minItems": 2, "items": PART},
                "regions": {"type": "object", "additionalProperties": REGION},
                "ignore": VALUE,
                "looked_for": {
                    "type": "object",
                    "additionalProperties": {"type": "integer", "minimum": 0},
                },
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


def read_plan(file: Path) -> tuple[Plan, list[str]]:
    """A plan.json, and the names of its decisions that are no longer taken and were left out.

    Raises:
        UserFault: it is damaged, of another version, for an unknown network, or a value is none that its decision can
            take.
    """
    record = read_json(file, remedy=REMEDY)
    Plan.require_version(record)
    require_schema(record, PLAN, file=file, remedy=REMEDY)
    plan, gone = without_retired(made_of(record, Plan.from_json, file=file, remedy=REMEDY))
    plan = with_later(plan)
    published = _published(plan, file)
    _check_decisions(plan.decisions, SHARED_RULES, None, published, file)
    for network, entries in plan.configurations.items():
        _check_decisions(entries, NETWORK_RULES[network], network, published, file)
    return plan, gone


def read_splits(file: Path) -> Splits:
    """A splits.json. Raises UserFault: it is damaged."""
    return made_of(base_splits.read_splits(file, remedy=REMEDY), Splits.from_json, file=file, remedy=REMEDY)


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
