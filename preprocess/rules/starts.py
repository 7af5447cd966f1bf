"""Weights that are only a start, and what follows from that for what is trained, and how."""

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.weights import is_only_a_start


def trains_everything(decided: Mapping[str, Any]) -> bool:
    """Whether there are no pretrained weights to be kept and adapted: none at all, or such as are only a start."""
    return decided["weights"] is None or is_only_a_start(decided["weights"])


def told_of_start(decided: Mapping[str, Any]) -> str:
    """Why all of an encoder is trained whose weights are only a start."""
    return (
        f"Our {decided['weights']} is only a start: {decided['backbone']} is too small, and saw drawings alone, to be "
        "kept as it is; every encoder weight is trained on."
    )


def as_from_random(decided: Mapping[str, Any]) -> str:
    """What a reason says of such weights behind one that speaks of random numbers; nothing where there are none."""
    return f" Our {decided['weights']} is only a start." if is_only_a_start(decided["weights"]) else ""
