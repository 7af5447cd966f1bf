"""What MONAI's networks need to stand beside the SAM networks: checks, intensities, a description."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.slices import SliceNetwork

logger = logging.getLogger(__name__)

PIXEL_MEAN, PIXEL_STD = 0.5, 0.25


class BaselineNetwork(SliceNetwork):
    """A network without pretrained weights; a subclass builds MONAI's and calls it in ``decode``.

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

    def check_size(self, height: int, width: int, *, what: str = "image") -> None:
        """Raise ValueError unless both sides are multiples of ``multiple`` and at least ``least`` pixels."""
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
