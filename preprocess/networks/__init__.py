"""The networks that can be planned, a folder each: its rules, what it declares, its part of the configs, ablations."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from preprocess.rules import Decision, Rule

NAMES = (
    "samed",
    "pgsam",
    "hsam",
    "medsa",
    "refsam3d",
    "dynunet",
    "unet",
    "swinunetr",
    "unetr",
    "autosam",
    "samdecoder",
    "dynunet_3d",
)
"""Their folders."""

_MODULES = {name: import_module(f"{__name__}.{name}.rules") for name in NAMES}

NETWORK_RULES: Mapping[str, Mapping[str, Rule]] = {name: module.RULES for name, module in _MODULES.items()}
"""Network -> decision -> its rule, in the order in which they are applied."""

COMMON_LATER = {"gradient_norm": 1.0, "sampling": "linear"}
NETWORK_LATER: Mapping[str, Mapping[str, Decision]] = {
    name: {
        decision: Decision(value=value, reason="Planned by an earlier version, which knew nothing else.")
        for decision, value in (COMMON_LATER | getattr(module, "LATER", {})).items()
    }
    for name, module in _MODULES.items()
}
"""Network -> its decisions that plans made by an earlier version lack, as they were made: the `LATER` of its rules."""

AUTO = "auto"
"""The wish for the networks that suit the data set."""


def auto_networks(shared: Mapping[str, Any]) -> tuple[str, ...]:
    """SAMed, and RefSAM3D where the shared decisions find that a 3-D network suits the data."""
    return ("samed", "refsam3d") if shared["dimension"] == "3d" else ("samed",)


def own_fault(network: str, values: Mapping[str, Any]) -> str | None:
    """A sentence where a network's decisions don't go together: its `find_fault`, if it has one."""
    find_fault = getattr(_MODULES[network], "find_fault", None)
    return find_fault(values) if find_fault else None
