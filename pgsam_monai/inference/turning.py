"""A network that sees a volume along other axes: coronal slices of a volume that was read as axial ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer


class TurnedInferer:
    """Lets a network of an ensemble walk over the volume's axes in its own order and direction; nothing is resampled.

    Args:
        inferer: how the network walks over a volume of its own orientation.
        own: axis codes that the network was trained with (rows, columns, slices), such as "ILP".
        volume: those of the volumes that the ensemble reads, such as "PLS".

    Raises:
        UserFault: codes that don't name three axes of a body.
    """

    def __init__(self, inferer: SliceInferer | PatchInferer, own: str, volume: str) -> None:
        self.turn = ornt_transform(_axes(volume), _axes(own))
        places = self.turn[:, 0].astype(int).tolist()
        self.inferer, self.output = inferer, inferer.output
        self.flips = [axis + 2 for axis in range(3) if self.turn[axis, 1] < 0]
        """of a batch's dimensions, the volume's that run the other way"""
        self.back = [0, 1, *(place + 2 for place in places)]
        self.slice_axis = places.index(2)
        """of the volume, along which the network sees slices"""
        self.order = [0, 1, *(places.index(axis) + 2 for axis in range(3))]

    @torch.no_grad()
    def probabilities(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """As the inferer's within: volumes (B, C, H, W, D) -> (B, K+1, h, w, d) softmax, float16, along their axes."""
        found = self.inferer.probabilities(self._turned(inputs), network, *args, **kwargs)
        return found.permute(self.back).flip(self.flips)

    def _turned(self, inputs: Tensor) -> Tensor:
        """The volumes along the network's axes, with the affine that they have so."""
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        turned = plain.flip(self.flips).permute(self.order)
        if not isinstance(inputs, MetaTensor):
            return turned
        affine = torch.from_numpy(inv_ornt_aff(self.turn, tuple(inputs.shape[2:])))
        placed = MetaTensor(turned).copy_meta_from(inputs)
        placed.affine = inputs.affine.double().cpu() @ affine
        return placed


def _axes(codes: str) -> np.ndarray:
    """(3, 2) of a volume's axes: which of the body's, and its direction, as nibabel has it."""
    try:
        axes = axcodes2ornt(tuple(codes))
    except ValueError:
        axes = np.empty((0, 2))
    if sorted(axes[:, 0]) != [0, 1, 2]:
        raise UserFault(f"TurnedInferer: '{codes}' must be three axis codes, such as PLS.")
    return axes
