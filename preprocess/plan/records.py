"""The content of plan.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgsam_monai.base.errors import UserFault
from preprocess import __version__
from preprocess.networks import NETWORK_LATER, NETWORK_RULES
from preprocess.rules import RULE, SHARED_RULES, Decision
from preprocess.splits.subjects import NONE

SCHEMA_VERSION = 1
LATER = {
    "subjects": Decision(
        value=NONE, reason="Planned by an earlier version, which took each case for a subject."
    ),
}
"""Shared decisions that plans of this schema may lack; for networks' own see `preprocess.networks`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The content of plan.json."""

    dataset: Mapping[str, Any]
    """name, folder, layout, file_format, channels [names], num_cases, skipped [{case, reason}]; where labels are
    partial, looked_for {structure: labelled training cases in which it was looked for} and ignore, the value of voxels
    that nobody labelled; where structures lie in one another, regions {structure: [values]};
    where data sets were merged, parts [{name, folder below this one, layout, background,
    values {in its files: here}}]"""

    decisions: Mapping[str, Decision]
    """shared by all networks"""

    configurations: Mapping[str, Mapping[str, Decision]]
    """network -> its own decisions"""

    recipe: str | None = None
    departures: Sequence[Mapping[str, str]] = ()
    """where the recipe leaves its source: [{what, theirs, ours, why}]"""

    created_by: str = f"pgsam-plan {__version__}"

    def value(self, name: str, network: str | None = None) -> Any:
        """The bare value of a decision; a network's own where `network` is given and has one of that name."""
        own = self.configurations.get(network, {}) if network else {}
        return (own.get(name) or self.decisions[name]).value

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists; the same plan gives the same bytes (no dates)."""
        configurations = {
            network: _to_json(self._told(network, entries))
            for network, entries in self.configurations.items()
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "created_by": self.created_by,
            "recipe": self.recipe,
            **({"departures": list(self.departures)} if self.departures else {}),
            "dataset": dict(self.dataset),
            "decisions": _to_json(self.decisions),
            "configurations": configurations,
        }

    def _told(self, network: str, entries: Mapping[str, Decision]) -> dict[str, Decision]:
        """A recipe that was published before a decision was taken needn't be told that all stays as it was."""
        later = NETWORK_LATER.get(network, {}) if self.recipe else {}
        return {
            name: decision
            for name, decision in entries.items()
            if not (name in later and decision.source == RULE and decision.value == later[name].value)
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        """Inverse of `to_json`; what comes from a file is checked by `plan.reading`."""
        return cls(
            dataset=record["dataset"],
            decisions=_from_json(record["decisions"]),
            configurations={name: _from_json(entries) for name, entries in record["configurations"].items()},
            recipe=record.get("recipe"),
            departures=tuple(record.get("departures", ())),
            created_by=record["created_by"],
        )

    @staticmethod
    def require_version(record: Mapping[str, Any]) -> None:
        """Raise UserFault unless this program writes plans of that version."""
        version = record.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserFault(
                f"plan.json has schema version {version}, this program reads {SCHEMA_VERSION}; plan again."
            )


def without_retired(plan: Plan) -> tuple[Plan, list[str]]:
    """`plan` without the decisions that an earlier version took and this one doesn't, and their names.

    Raises:
        UserFault: a network that isn't known.
    """
    gone = []

    def known(entries: Mapping[str, Decision], rules: Mapping[str, Any], where: str) -> dict[str, Decision]:
        gone.extend(f"{where}{name}" for name in entries if name not in rules)
        return {name: decision for name, decision in entries.items() if name in rules}

    for network in plan.configurations:
        if network not in NETWORK_RULES:
            raise UserFault(f"plan.json is for {network}; networks are {', '.join(NETWORK_RULES)}.")
    shared = known(plan.decisions, SHARED_RULES, "")
    own = {
        network: known(entries, NETWORK_RULES[network], f"{network}.")
        for network, entries in plan.configurations.items()
    }
    return replace(plan, decisions=shared, configurations=own), gone


def with_later(plan: Plan) -> Plan:
    """`plan`, of an earlier version, with the decisions that are taken since: as it was planned without them."""
    own = {
        network: _completed(entries, NETWORK_RULES[network], NETWORK_LATER[network])
        for network, entries in plan.configurations.items()
    }
    return replace(plan, decisions=_completed(plan.decisions, SHARED_RULES, LATER), configurations=own)


def _completed(
    entries: Mapping[str, Decision], rules: Mapping[str, Any], later: Mapping[str, Decision]
) -> dict[str, Decision]:
    """In the rules' order; what is in neither is left out."""
    known = {name: entries.get(name, later.get(name)) for name in rules}
    return {name: decision for name, decision in known.items() if decision}


def _to_json(entries: Mapping[str, Decision]) -> dict[str, Any]:
    return {name: decision.to_json() for name, decision in entries.items()}


def _from_json(entries: Mapping[str, Any]) -> dict[str, Decision]:
    return {name: Decision.from_json(entry) for name, entry in entries.items()}
