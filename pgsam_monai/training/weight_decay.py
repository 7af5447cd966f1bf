"""Which parameters are pulled towards zero while they are trained."""

from __future__ import annotations

from typing import Any

from torch import nn


def decayed_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters for an optimiser, in two groups: matrices and kernels, which decay, and the rest.

    Temperatures, step sizes, norms and biases have a meaning at the value that they have; a decay that is meant to keep
    maps small would flatten a prior: PG-SAM's temperatures fell from 10 to 3 within a published training.

    Args:
        network: of which what requires a gradient is trained.
        weight_decay: of the first group.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if not _is_vector(p)], "weight_decay": weight_decay},
        {"params": [p for p in trained if _is_vector(p)], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _is_vector(parameter: nn.Parameter) -> bool:
    """A number, or one for each channel: whatever axes follow have one entry."""
    return parameter.shape[1:].numel() == 1
