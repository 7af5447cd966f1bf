"""Where training is to run, and with how much memory."""

from collections.abc import Mapping
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import FACTOR, choice, takes


@takes(choice("cpu", "gpu"))
def choose_target(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "cpu" or "gpu"."""
    return Decision(value=evidence.machine.target, reason=evidence.machine.target_reason)


@takes(FACTOR)
def choose_memory_gb(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Memory for training in GB: the GPU's, or the RAM."""
    return Decision(value=evidence.machine.memory_gb, reason=evidence.machine.memory_reason)
