"""The plan: every decision with its reason, from rules, recipe and the user's overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import values_of
from preprocess.layouts.regions import region_fault
from preprocess.networks import AUTO, NETWORK_RULES, auto_networks, own_fault
from preprocess.networks.declared import capabilities
from preprocess.plan.kinds import kind_of
from preprocess.plan.overrides import Override, make_override
from preprocess.plan.records import Plan
from preprocess.recipes import Recipe
from preprocess.rules import OVERRIDE, SHARED_RULES, Decision, Evidence, overridden
from preprocess.rules.evidence import WORLD_SLICE_AXIS
from preprocess.rules.mirroring import mirror_fault
from preprocess.rules.patches import input_fault

PER_CLASS = ("label_names", "class_frequencies")
EDITED = "an edit of plan.json"


def make_plan(
    evidence: Evidence | None,
    *,
    dataset: Mapping[str, Any],
    networks: Sequence[str] = ("samed",),
    recipe: Recipe | None = None,
    overrides: Sequence[Override] = (),
) -> Plan:
    """Applies the rules in order. Each may read what was decided before it, overrides included.

    Args:
        evidence: None plans from a recipe alone.
        dataset: the plan's header, see `Plan.dataset`.
        networks: keys of NETWORK_RULES, or "auto" alone for those that suit the data.
        recipe: its settings stand in for the rules of the same name.
        overrides: the user's wishes; stand in for rule and recipe.

    Raises:
        UserFault: decisions contradict one another, or there is one labelled case only.
    """
    published = recipe.published(evidence.file_format if evidence else None) if recipe else {}
    shared = _decide(SHARED_RULES, evidence, {}, published=published, overrides=overrides, network=None)
    values = {name: decision.value for name, decision in shared.items()}
    networks = auto_networks(values) if tuple(networks) == (AUTO,) else networks
    _check_wishes(overrides, networks)
    configurations = {}
    for network in networks:
        _refuse(input_fault(capabilities(network), values))
        own = recipe.configurations.get(network, {}) if recipe else {}
        rules = NETWORK_RULES[network]
        configurations[network] = _decide(
            rules, evidence, values, published=own, overrides=overrides, network=network
        )
    plan = Plan(
        dataset=dataset,
        decisions=shared,
        configurations=configurations,
        recipe=recipe.name if recipe else None,
        departures=tuple(asdict(departure) for departure in recipe.departures) if recipe else (),
    )
    check_consistency(plan)
    return plan


def replan(
    plan: Plan, evidence: Evidence | None, *, recipe: Recipe | None, edited: Sequence[Override] = ()
) -> Plan:
    """Plans again with `plan`'s earlier overrides and the `edited` ones, which win."""
    names = {(wish.network, wish.name) for wish in edited}
    earlier = [wish for wish in _earlier_overrides(plan) if (wish.network, wish.name) not in names]
    return make_plan(
        evidence,
        dataset=plan.dataset,
        networks=tuple(plan.configurations),
        recipe=recipe,
        overrides=[*earlier, *edited],
    )


def find_edits(edited: Plan, pristine: Plan) -> list[Override]:
    """The values in which a plan edited by hand differs from the plan as it was written.

    Raises:
        UserFault: a value that its decision can't take.
    """
    edits = []
    for network in (None, *edited.configurations):
        entries = edited.decisions if network is None else edited.configurations[network]
        before = pristine.decisions if network is None else pristine.configurations.get(network, {})
        for name, decision in entries.items():
            if name in before and decision.value != before[name].value:
                edits.append(make_override(name, decision.value, network=network, set_by=EDITED))
    return edits


def with_moved_data(pristine: Plan, edited: Plan) -> Plan:
    """`pristine` with the folder of its data set that the edited plan names; nothing else of that entry can be wished.

    Raises:
        UserFault: another data set's name, layout, channels, networks or recipe.
    """
    header = dict(pristine.dataset) | {"folder": edited.dataset["folder"]}
    changed = [f"dataset.{name}" for name in header if header[name] != edited.dataset.get(name)]
    changed += [
        name for name in ("recipe", "configurations") if _names(pristine, name) != _names(edited, name)
    ]
    if changed:
        raise UserFault(
            f"plan.json: {changed[0]} is no decision that can be edited; undo that, or plan the data set again."
        )
    return replace(pristine, dataset=header)


def _names(plan: Plan, entry: str) -> Any:
    value = getattr(plan, entry)
    return list(value) if entry == "configurations" else value


def with_edits(pristine: Plan, edits: Sequence[Override]) -> Plan:
    """`pristine` with the edited values alone replaced: where no facts are at hand to follow them up."""
    shared = _edited(pristine.decisions, edits, None)
    own = {network: _edited(entries, edits, network) for network, entries in pristine.configurations.items()}
    plan = replace(pristine, decisions=shared, configurations=own)
    check_consistency(plan)
    return plan


def check_consistency(plan: Plan) -> None:
    """Raises UserFault where decisions contradict one another (only overrides can make them)."""
    value = plan.value
    for name in PER_CLASS:
        _check_length(name, value(name), value("labels"))
    _refuse(region_fault(plan.dataset.get("regions", {}), [values_of(entry) for entry in value("labels")]))
    shared = {name: decision.value for name, decision in plan.decisions.items()}
    _refuse(mirror_fault(shared, plan.dataset))
    for network, entries in plan.configurations.items():
        values = {name: decision.value for name, decision in entries.items()}
        _refuse(input_fault(capabilities(network), shared))
        _refuse(own_fault(network, values) or _option_fault(network, values))
    if any(capabilities(network).texts for network in plan.configurations):
        _check_texts(value("texts"), value("label_names"))
    axis, code = value("slice_axis"), value("orientation")
    if bool(code) != (axis != "none") or (code and WORLD_SLICE_AXIS[code[-1]] != axis):
        raise UserFault(
            f"orientation '{code}' doesn't end in the slice axis '{axis}'; override slice_axis instead."
        )


def _decide(
    rules: Mapping[str, Any],
    evidence: Evidence | None,
    earlier: Mapping[str, Any],
    *,
    published: Mapping[str, Decision],
    overrides: Sequence[Override],
    network: str | None,
) -> dict[str, Decision]:
    values, decisions = dict(earlier), {}
    for name, rule in rules.items():
        decision = published[name] if name in published else rule(evidence, values)
        for wish in overrides:
            if wish.applies_to(name, network):
                planned = decision.planned or decision
                decision = overridden(planned, wish.value, set_by=wish.set_by)
        decisions[name] = decision
        values[name] = decision.value
        if name in PER_CLASS:
            _check_length(name, decision.value, values["labels"])
    return decisions


def _option_fault(network: str, values: Mapping[str, Any]) -> str | None:
    """A sentence where a decision isn't among what its network takes; a wish for all networks may be of another's."""
    for name, value in values.items():
        options = kind_of(name, network).options
        if options and value not in options:
            return (
                f"{name} {value}: {capabilities(network).title} takes {', '.join(map(str, options))}; "
                f"override {network}.{name}={options[0]}."
            )
    return None


def _refuse(fault: str | None) -> None:
    if fault:
        raise UserFault(fault)


def _check_wishes(overrides: Sequence[Override], networks: Sequence[str]) -> None:
    """A wish for a decision that none of the planned networks takes would do nothing: it is refused."""
    for wish in overrides:
        takers = [
            network
            for network, rules in NETWORK_RULES.items()
            if wish.network in (None, network) and wish.name in rules
        ]
        if wish.name not in SHARED_RULES and not set(takers) & set(networks):
            wished = wish.set_by if wish.set_by == f"--{wish.name}" else f"{wish.set_by} {wish.name}"
            raise UserFault(
                f"{wished}: a decision of {', '.join(takers)}, while {', '.join(networks)} is "
                f"planned; add --networks {takers[0]}, or leave it out."
            )


def _check_texts(texts: Mapping[str, Any], names: Sequence[str]) -> None:
    lacking = [name for name in names if name not in texts]
    surplus = [name for name in texts if name not in names]
    if lacking or surplus:
        told = [f"lacks {', '.join(lacking)}"] if lacking else []
        told += [f"names {', '.join(surplus)}, which is no label"] if surplus else []
        raise UserFault(f"texts {' and '.join(told)}; give one for each of {', '.join(names)}.")


def _check_length(name: str, entries: Any, labels: Sequence[int]) -> None:
    if entries is not None and len(entries) != len(labels):
        raise UserFault(
            f"{name} has {len(entries)} entries for {len(labels)} labels; override both or neither."
        )


def _earlier_overrides(plan: Plan) -> list[Override]:
    wishes = []
    for network in (None, *plan.configurations):
        entries = plan.decisions if network is None else plan.configurations[network]
        for name, decision in entries.items():
            if decision.source == OVERRIDE and decision.planned is not None:
                wishes.append(
                    Override(name=name, value=decision.value, network=network, set_by=decision.set_by)
                )
    return wishes


def _edited(
    entries: Mapping[str, Decision], edits: Sequence[Override], network: str | None
) -> dict[str, Decision]:
    made = dict(entries)
    for wish in edits:
        if wish.network in (None, network) and wish.name in made:
            planned = made[wish.name].planned or made[wish.name]
            made[wish.name] = overridden(planned, wish.value, set_by=wish.set_by)
    return made
