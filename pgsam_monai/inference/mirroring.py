"""Test-time mirroring: a network answers a volume and its mirror images, and the answers' mean counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.mirroring import mirrored_axes
from pgsam_monai.inference.ensemble import EnsembleInferer, add_up, log_mean, most_probable
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.inference.turning import TurnedInferer
from pgsam_monai.transforms.meta import with_meta_of


class MirrorInferer(Inferer):
    """Runs a network over a volume and over its mirror images along some axes, in all ways, as nnU-Net does.

    `__call__(inputs, network)` is that of the inferer within, whose class probabilities (float16, at the resolution
    that the network sees, no finer than the volume's) are mirrored back, averaged, and brought onto the volume's grid a
    class at a time, as an ensemble's are: a mirrored pass is a member. n axes take 2^n passes (Isensee et al., Nature
    Methods 2021); memory doesn't grow with them. The meta data of a MetaTensor stay as they are. How sure the network
    is isn't told: that is calibrated for plain answers.

    Args:
        inferer: how the network walks over a volume.
        axes: of the volume (rows, columns, slices), 0 to 2, at least one.
    """

    def __init__(self, inferer: SliceInferer | PatchInferer, axes: Sequence[int]) -> None:
        super().__init__()
        if not axes or not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
            raise UserFault(f"MirrorInferer: axes are one or more of 0, 1, 2, each once; got {list(axes)}.")
        self.inferer, self.axes, self.output = inferer, tuple(axes), inferer.output
        self.passes = [ways for count in range(len(axes) + 1) for ways in combinations(axes, count)]
        """axes that are mirrored together"""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        volumes = inputs if inputs.ndim == 5 else inputs[..., None]
        maps = self.probabilities(volumes, network, *args, **kwargs)
        restore = most_probable if self.output == "labels" else log_mean
        result = torch.stack([restore([found], tuple(volumes.shape[2:])) for found in maps])
        return with_meta_of(result if inputs.ndim == 5 else result[..., 0], inputs)

    @torch.no_grad()
    def probabilities(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """As the inferer's within: volumes (B, C, H, W, D) -> (B, K+1, h, w, d) mean softmax, float16."""

        def answer(axes: Sequence[int]) -> Tensor:
            dims = [axis + 2 for axis in axes]
            return self.inferer.probabilities(inputs.flip(dims), network, *args, **kwargs).flip(dims)

        (mean,) = add_up((answer(axes), 1 / len(self.passes)) for axes in self.passes)
        return mean


def mirrored(inferer: Inferer, mirror: Sequence[str], orientation: str, sided: bool) -> Inferer:
    """The inferer itself where nothing is mirrored, else one that averages over mirror images.

    Of an ensemble each network's is mirrored, and how sure they are isn't told either. Along its slices no network of
    single slices is: its answer is the same.

    Args:
        inferer: a SliceInferer, PatchInferer or EnsembleInferer.
        mirror, orientation, sided: as `base.mirroring.mirrored_axes` takes them.

    Raises:
        UserFault: as `mirrored_axes`.
    """
    axes = mirrored_axes(mirror, orientation, sided=sided)
    if not axes:
        return inferer
    if not isinstance(inferer, EnsembleInferer):
        return _along(inferer, axes)
    members = [_along(member, axes) for member in inferer.members]
    if members == inferer.members:
        return inferer
    return EnsembleInferer(members, output=inferer.output, progress=inferer.progress, confidence=False)


def _along(inferer: Inferer, axes: Sequence[int]) -> Inferer:
    turned = isinstance(inferer, TurnedInferer)
    walk, slices = (inferer.inferer, inferer.slice_axis) if turned else (inferer, 2)
    if isinstance(walk, SliceInferer) and walk.stack_depth == 1:
        axes = [axis for axis in axes if axis != slices]
    return MirrorInferer(inferer, axes) if axes else inferer
