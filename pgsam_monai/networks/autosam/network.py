"""AutoSAM: SAM's image encoder, frozen, and a convolutional head that predicts every class without prompts."""

from __future__ import annotations

from torch import Tensor, nn

from pgsam_monai.networks.sam.network import SamNetwork
from pgsam_monai.networks.sam.norm import LayerNorm2d

EMBEDDING = 256
WIDTHS = (128, 64)
"""Channels at 1/8 and at 1/4 of the image's side."""


class AutoSAM(SamNetwork):
    """SAM's embedding upsampled by a trained convolutional head (Hu et al., 2023, arXiv 2306.13731).

    SAM's prompt encoder and mask decoder have no part in it and are dropped, once a checkpoint that holds them is
    read. The paper describes the head by its kind; its widths and norms are ours, the norms those of SAM's own
    upscaling.
    """

    name = "autosam"
    title = "AutoSAM"

    def __init__(self, *, encoder_training: str = "frozen", **sam: object) -> None:
        """
        Args:
            encoder_training: as `SamNetwork`'s; published is "frozen".
            sam: its further arguments; `skip_features` does nothing.

        Raises:
            ValueError: as `SamNetwork`.
            UserFault: SAM's weights are neither here nor obtainable.
        """
        super().__init__(encoder_training=encoder_training, **{**sam, "skip_features": False})
        del self.prompt_encoder, self.mask_decoder
        self.head = nn.Sequential(
            HeadStage(EMBEDDING, WIDTHS[0]),
            HeadStage(*WIDTHS),
            nn.Conv2d(WIDTHS[1], self.num_classes + 1, kernel_size=1),
        )

    def segment(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits (B, K+1, H/4, W/4)."""
        return self.head(self.image_encoder(self.normalise(image))).float()


class HeadStage(nn.Sequential):
    """A transposed convolution to twice the side and a 3×3 convolution, each normed and activated."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(in_channels, channels, kernel_size=2, stride=2),
            LayerNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            LayerNorm2d(channels),
            nn.GELU(),
        )
