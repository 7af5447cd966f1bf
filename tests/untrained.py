"""Bundles that can predict at once: tiny, with the weights that a seed draws."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_bundle import plan_tiny

from pgsam_monai.base.trained_for import planned_in
from pgsam_monai.bundle import Bundle


def plan_untrained(folder: Path, work: Path, network: str, *, seed: int = 0) -> Path:
    """Plan the data set in `folder` for a network and give the bundle weights."""
    bundle = plan_tiny(folder, work, networks=network)
    (bundle / "models").mkdir()
    draw_weights(bundle, seed)
    return bundle


def draw_weights(bundle: Path, seed: int) -> None:
    """Other weights for the bundle, all of them drawn, those too that start from zero."""
    torch.manual_seed(seed)
    network = Bundle(bundle, device="cpu").parser.get_parsed_content("network_def")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    network.trained_for = planned_in(bundle)
    torch.save(network.state_dict(), bundle / "models/model.pt")
