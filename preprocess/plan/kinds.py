"""What the decisions' values may be: what the rules say (`rules.kind.takes`), by name and network."""

from __future__ import annotations

from collections.abc import Mapping

from preprocess.networks import NETWORK_RULES
from preprocess.rules import SHARED_RULES
from preprocess.rules.kind import Kind, widest


def _collected() -> dict[str, Kind]:
    said: dict[str, list[Kind]] = {}
    for rules in (SHARED_RULES, *NETWORK_RULES.values()):
        for name, rule in rules.items():
            if hasattr(rule, "kind"):
                said.setdefault(name, []).append(rule.kind)
    return {name: widest(kinds) for name, kinds in said.items()}


KINDS: Mapping[str, Kind] = _collected()
"""What a decision may be, of any network."""


def kind_of(name: str, network: str | None = None) -> Kind:
    """What a decision may be; that of `network`, where one is named and its rule says so."""
    rule = NETWORK_RULES[network].get(name) if network else None
    return getattr(rule, "kind", KINDS[name])
