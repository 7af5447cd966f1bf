"""The papers' way from a volume to a label map, beside ours: TransUNet's, SAMed's, H-SAM's and PG-SAM's
`test_single_volume`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.metrics.cases import PAPERS, PROTOCOLS
from pgsam_monai.voxels.frame import LINEAR


class BothInferer(Inferer):
    """Gives both label maps: ours, and that of the papers.

    `__call__(inputs, network)` is that of the SliceInferer within, but for a second channel: (B, 2, H, W, D), ours and
    theirs. Theirs: slices come to the network's size along a cubic spline, the highest class is taken there, and labels
    are carried back by nearest neighbour, both from corner to corner. A network that was trained with such slices is
    run once; one trained with other slices is run twice, once with what it knows, once with what the papers would show.

    Args:
        inferer: how the network walks over a volume; its slices are stretched to a square.
    """

    def __init__(self, inferer: SliceInferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if self.inferer.sampling != LINEAR:
            return _giving(self.inferer, "both")(inputs, network, *args, **kwargs)
        theirs = _giving(self.inferer, PAPERS)
        theirs.sampling = "cubic"
        maps = [walk(inputs, network, *args, **kwargs) for walk in (self.inferer, theirs)]
        return torch.cat(maps, dim=1)


def measured(inferer: Inferer, protocol: str) -> Inferer:
    """The inferer that gives the label maps which a protocol measures: itself, or a BothInferer for the papers'.

    Raises:
        UserFault: an unknown protocol; or the papers', which knows no such answers: mirrored ones, an ensemble's, those
            of sub-volumes, or of padded slices.
    """
    if protocol not in PROTOCOLS:
        raise UserFault(f"evaluate: --protocol takes mm or papers, got {protocol}.")
    if protocol != PAPERS:
        return inferer
    if type(inferer) is not SliceInferer:
        raise UserFault(
            "The papers' protocol measures one 2-D network's plain answers, and here these would be of "
            f"{type(inferer).__name__}; give --protocol mm."
        )
    if inferer.fit != "stretch":
        raise UserFault(
            "The papers' protocol stretches slices to a square, and this bundle pads them; give --protocol mm, or plan "
            "it with fit=stretch."
        )
    return BothInferer(inferer)


def _giving(inferer: SliceInferer, output: str) -> SliceInferer:
    other = copy.copy(inferer)
    other.output = output
    return other
