"""Trained weights come into a network in one way: whole, finite, of that network, and trained for the same plan."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from pgsam_monai.base.trained_for import planned_in
from pgsam_monai.weights.files import load_weights


def load_trained(network: nn.Module, file: str | Path, *, bundle: str | Path) -> None:
    """Load the weights that a bundle's network was trained to, strictly.

    Args:
        network: as the bundle's configs describe it.
        file: a state dict.
        bundle: its folder; what it is planned for is compared with what the weights were trained for.

    Raises:
        UserFault: the file can't be read, or isn't of this network and plan.
    """
    network.trained_for = planned_in(bundle)
    network.load_state_dict(load_weights(file))


class TrainedWeights:
    """Loads a bundle's weights before its engine starts: `load_trained` as a handler."""

    def __init__(self, network: nn.Module, file: str, bundle: str) -> None:
        self.network, self.file, self.bundle = network, file, bundle

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        load_trained(self.network, self.file, bundle=self.bundle)
