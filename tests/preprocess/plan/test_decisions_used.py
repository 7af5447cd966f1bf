"""No decision is taken for nothing: each reaches what is written, or a decision that does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import pytest
from plan_evidence import GPU, evidence

from preprocess.bundle.emit import bundle_files
from preprocess.networks import NETWORK_RULES
from preprocess.networks.declared import capabilities
from preprocess.plan.kinds import kind_of
from preprocess.plan.plan import make_plan
from preprocess.rules import SHARED_RULES

PAPERS = ("configs/plan.json", "docs/README.md")
"""what lists every decision, used or not"""

HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip
OTHERS = {
    "labels": [0, 7, 8],
    "label_names": ["background", "kidney", "aorta"],
    "orientation": "LPS",
    "mirror": ["up-down", "front-back"],
    "intensity": {"scheme": "unit8"},
    "postprocessing": {"largest_component": [2]},
    "prompt_kinds": ["box"],
    "token_size": [8, 8, 8],
    "patch": [32, 32, 32],
}
SPLITTING = {"folds", "subjects"}
"""what `planning.split_dataset` reads beside the seed: test_splits.py, test_subjects.py"""


class Noting(Mapping):
    """The decisions so far, and which of them were read."""

    def __init__(self, values: Mapping) -> None:
        self.values_, self.read = values, set()

    def __getitem__(self, name: str) -> object:
        value = self.values_[name]
        self.read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a rule that goes over all decisions hides which of them it needs")

    def __len__(self) -> int:
        return len(self.values_)


@cache
def planned(network: str) -> dict:
    """The plan of a volume on a GPU, where nothing has the least value there is."""
    made = make_plan(
        evidence(machine=GPU, spacings=((0.75, 0.75, 1.5),) * 10), dataset=HEADER, networks=(network,)
    )
    return made.to_json()


@cache
def readers(network: str) -> dict[str, set[str]]:
    """Decision -> the later ones whose rules read it."""
    facts, values, found = evidence(machine=GPU, spacings=((0.75, 0.75, 1.5),) * 10), {}, {}
    for name, rule in {**SHARED_RULES, **NETWORK_RULES[network]}.items():
        noting = Noting(values)
        values[name] = rule(facts, noting).value
        for read in noting.read:
            found.setdefault(read, set()).add(name)
    return found


def another(name: str, network: str, value: object) -> object:
    """A value that differs from the planned one in every part."""
    options = [option for option in kind_of(name, network).options if option != value]
    if name in OTHERS or options:
        return OTHERS.get(name, options[0] if options else None)
    return changed(value)


def changed(value: object) -> object:
    if isinstance(value, dict):
        return {key: changed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [changed(item) for item in value]
    if isinstance(value, bool):
        return not value
    return f"{value} other" if isinstance(value, str) else (value or 0) + 1


def is_written(network: str, name: str) -> bool:
    """Whether another value of the decision makes another bundle, papers aside."""
    record = planned(network)
    own = name in NETWORK_RULES[network]
    entries = record["configurations"][network] if own else record["decisions"]
    entry = entries[name] | {"value": another(name, network, entries[name]["value"])}
    if own:
        configurations = {network: {**entries, name: entry}}
        other = record | {"configurations": configurations}
    else:
        other = record | {"decisions": {**entries, name: entry}}
    before, after = (_without_papers(bundle_files(plan, {}, network)) for plan in (record, other))
    return before != after


def is_used(network: str, name: str) -> bool:
    return (
        name in SPLITTING
        or is_written(network, name)
        or any(is_used(network, later) for later in readers(network).get(name, ()))
    )


@pytest.mark.parametrize("network", NETWORK_RULES)
def test_every_decision_of_a_network_is_used(network):
    assert [name for name in NETWORK_RULES[network] if not is_used(network, name)] == []


def test_every_shared_decision_is_used_by_some_network():
    unused = [name for name in SHARED_RULES if not any(is_used(network, name) for network in NETWORK_RULES)]
    assert unused == []


def test_a_network_of_slices_or_patches_reads_only_what_it_declares():
    for network in NETWORK_RULES:
        assert ("patch_3d" in readers(network)) == (capabilities(network).input == "patches"), network


def _without_papers(files: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in files.items() if name not in PAPERS}
