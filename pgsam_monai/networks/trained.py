"""Trained weights come into a network in one way: whole, finite, of that network, and trained for the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from pgsam_monai.base.trained_for import TrainedFor, planned_in
from pgsam_monai.networks.compiled import compile_blocks
from pgsam_monai.weights.files import load_weights


def load_trained(network: nn.Module, file: str | Path, *, planned: TrainedFor) -> None:
    """Load the weights that a bundle's network was trained to, strictly.

    Args:
        network: as the bundle's configs describe it.
        file: a state dict.
        planned: what the bundle is planned for; it must be what the weights were trained for.

    Raises:
        UserFault: the file can't be read, or isn't of this network and plan.
    """
    network.trained_for, network.trained_on = planned, None
    network.load_state_dict(load_weights(file))


class TrainedWeights:
    """Loads a bundle's weights before its engine starts: `load_trained` as a handler."""

    def __init__(
        self, network: nn.Module, file: str, bundle: str, seen: Mapping[str, Any], *, compile: bool = False
    ) -> None:
        """`seen`: what `TrainedFor.seeing` takes. `compile`: see `compiled.compile_blocks`."""
        self.network, self.file, self.bundle, self.seen = network, file, bundle, dict(seen)
        self.compile = compile

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        load_trained(self.network, self.file, planned=planned_in(self.bundle).seeing(**self.seen))
        if self.compile:
            compile_blocks(self.network)
