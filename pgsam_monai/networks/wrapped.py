"""What MONAI's networks need to stand beside the SAM networks and RefSAM3D: checks, intensities, a description."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.slices import SliceNetwork
from pgsam_monai.networks.volumes import VolumeNetwork, three

logger = logging.getLogger(__name__)

PIXEL_MEAN, PIXEL_STD = 0.5, 0.25


class BaselineNetwork(SliceNetwork):
    """A network without pretrained weights; a subclass builds MONAI's and calls it in `decode`.

    The image's 0..1 become -2..2, whatever channel: zero is in the middle and the spread about one, as random weights
    expect it.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        in_channels: int,
        multiple: int,
        least: int,
        **description: str | int | bool,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K, at least 1.
            image_size: side in pixels that the network is built for.
            in_channels: channels of the image.
            multiple: what the sides must be multiples of.
            least: the smallest side.
            description: what else a checkpoint has to agree in.

        Raises:
            ValueError: an argument is outside its range.
        """
        super().__init__()
        for name, count in (("num_classes", num_classes), ("in_channels", in_channels)):
            if count < 1:
                raise UserFault(f"{self.title}: {name} must be at least 1, got {count}.")
        self.multiple, self.least = multiple, least
        self.check_size(image_size, image_size, what="image_size")
        self.image_size, self.in_channels, self.num_classes = image_size, in_channels, num_classes
        self.description = {
            "network": self.name,
            "num_classes": num_classes,
            "image_size": image_size,
            "in_channels": in_channels,
            **description,
        }
        logger.info("%s starts from random weights.", self.title)

    def compiled_parts(self) -> list[nn.Module]:
        """As `DescribedNetwork`: all of MONAI's network, unless a subclass has it in pieces."""
        return [self.body]

    def check_size(self, height: int, width: int, *, what: str = "image") -> None:
        """Raise ValueError unless both sides are multiples of `multiple` and at least `least` pixels."""
        if min(height, width) < self.least or height % self.multiple or width % self.multiple:
            side = max(self.least, round(max(height, width) / self.multiple) * self.multiple)
            raise UserFault(
                f"{self.title}: the sides of {what} must be multiples of {self.multiple} pixels and at least "
                f"{self.least}, got {height} x {width}; choose for example {side} x {side}."
            )

    def normalise(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) on the 0..1 scale → the same on -2..2, once its channels and sides are checked."""
        if not torch.jit.is_tracing():
            self.check_size(image.shape[2], image.shape[3])
        self.check_channels(image)
        return (image - PIXEL_MEAN) / PIXEL_STD


class BaselineVolumeNetwork(VolumeNetwork):
    """A 3-D network without pretrained weights; a subclass builds MONAI's and calls it in `segment`.

    As for slices, the image's 0..1 become -2..2, whatever channel.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        patch: Sequence[int],
        in_channels: int,
        multiples: Sequence[int],
        **description: str | int | bool,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K, at least 1.
            patch: rows, columns and slices that the network is built for, voxels.
            in_channels: channels of the volume.
            multiples: what rows, columns and slices must be multiples of, voxels: one cell of the coarsest map.
            description: what else a checkpoint has to agree in.

        Raises:
            ValueError: an argument is outside its range.
        """
        super().__init__()
        for name, count in (("num_classes", num_classes), ("in_channels", in_channels)):
            if count < 1:
                raise UserFault(f"{self.title}: {name} must be at least 1, got {count}.")
        self.patch = three(patch, who=f"{self.title}: patch")
        self.multiples = three(multiples, who=f"{self.title}: multiples")
        self.check_sides(self.patch, what="patch")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.description = {
            "network": self.name,
            "num_classes": num_classes,
            "patch": "x".join(map(str, self.patch)),
            "in_channels": in_channels,
            **description,
        }
        logger.info("%s starts from random weights.", self.title)

    def check_sides(self, sides: Sequence[int], *, what: str = "image") -> None:
        """Raise ValueError unless rows, columns and slices are `multiples` and one of them is twice its own.

        Instance norms can't normalise a coarsest map of a single voxel.
        """
        pairs = list(zip(sides, self.multiples, strict=True))
        if any(side % multiple for side, multiple in pairs) or prod(sides) <= prod(self.multiples):
            near = [max(1, round(side / multiple)) * multiple for side, multiple in pairs]
            near[0] = max(near[0], 2 * self.multiples[0])
            raise UserFault(
                f"{self.title}: the sides of {what} must be multiples of {self.multiples} voxels, one of them at least "
                f"twice, got {tuple(sides)}; choose for example {tuple(near)}."
            )

    def normalise(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W, D) on the 0..1 scale → the same on -2..2."""
        return (image - PIXEL_MEAN) / PIXEL_STD

    def _check(self, volume: Tensor) -> None:
        super()._check(volume)
        if not torch.jit.is_tracing():
            self.check_sides(volume.shape[2:])
