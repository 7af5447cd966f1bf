"""The residual U-Net that MONAI's tutorials train."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks import nets
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.wrapped import BaselineNetwork

FILTERS = (32, 64, 128, 256, 512)
MOST_UNITS = 16
"""convolutions of a residual unit; nobody wants more, and a slip of the hand would fill the memory"""


class UNet(BaselineNetwork):
    """MONAI's UNet (Kerfoot et al., 2018; `monai.networks.nets.UNet`) on slices: strided residual units."""

    name = "unet"
    title = "UNet"

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        in_channels: int = 1,
        filters: Sequence[int] = FILTERS,
        residual_units: int = 2,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            image_size: side in pixels, a multiple of 2 to the power of the halvings; any other multiple works too.
            in_channels: channels of the image.
            filters: channels of each stage, the finest first; each further one halves the side.
            residual_units: convolutions of a residual unit; 0 for plain ones.

        Raises:
            ValueError: an argument is outside its range.
        """
        if not 0 <= residual_units <= MOST_UNITS:
            raise UserFault(f"{self.title}: residual_units must be 0 to {MOST_UNITS}, got {residual_units}.")
        total = 2 ** (len(filters) - 1)
        super().__init__(
            num_classes=num_classes,
            image_size=image_size,
            in_channels=in_channels,
            multiple=total,
            least=2 * total,
            filters=" ".join(map(str, filters)),
            residual_units=residual_units,
        )
        self.body = nets.UNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=num_classes + 1,
            channels=list(filters),
            strides=[2] * (len(filters) - 1),
            num_res_units=residual_units,
        )

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits [(B, K+1, H, W)]."""
        return [self.body(self.normalise(image)).float()]
