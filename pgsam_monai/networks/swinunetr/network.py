"""Swin UNETR: shifted-window attention in the encoder, convolutions in the decoder."""

from __future__ import annotations

from monai.networks import nets
from torch import Tensor

from pgsam_monai.networks.wrapped import BaselineNetwork

STRIDE = 32


class SwinUNETR(BaselineNetwork):
    """MONAI's SwinUNETR (Hatamizadeh et al., 2022; `monai.networks.nets.SwinUNETR`) on slices."""

    name = "swinunetr"
    title = "SwinUNETR"

    def __init__(
        self, *, num_classes: int, image_size: int, in_channels: int = 1, feature_size: int = 24
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            image_size: side in pixels, a multiple of 32 and at least 64; any other multiple works too.
            in_channels: channels of the image.
            feature_size: channels at the finest stage, a multiple of 12.

        Raises:
            ValueError: an argument is outside its range.
        """
        super().__init__(
            num_classes=num_classes,
            image_size=image_size,
            in_channels=in_channels,
            multiple=STRIDE,
            least=2 * STRIDE,
            feature_size=feature_size,
        )
        self.body = nets.SwinUNETR(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=num_classes + 1,
            feature_size=feature_size,
        )

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits [(B, K+1, H, W)]."""
        return [self.body(self.normalise(image)).float()]
