"""UNETR: a ViT as the encoder, convolutions in the decoder."""

from __future__ import annotations

import torch
from monai.networks import nets
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.wrapped import BaselineNetwork

PATCH = 16


class UNETR(BaselineNetwork):
    """MONAI's UNETR (Hatamizadeh et al., WACV 2022; `monai.networks.nets.UNETR`) on slices: ViT-B's sizes."""

    name = "unetr"
    title = "UNETR"

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        in_channels: int = 1,
        feature_size: int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        heads: int = 12,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            image_size: side in pixels, a multiple of 16; images of other sizes are refused.
            in_channels: channels of the image.
            feature_size: channels of the finest decoder stage.
            hidden_size: width of a token.
            mlp_dim: hidden width of a transformer block.
            heads: attention heads.

        Raises:
            ValueError: an argument is outside its range.
        """
        super().__init__(
            num_classes=num_classes,
            image_size=image_size,
            in_channels=in_channels,
            multiple=PATCH,
            least=2 * PATCH,
            feature_size=feature_size,
            hidden_size=hidden_size,
        )
        self.body = nets.UNETR(
            spatial_dims=2,
            img_size=image_size,
            in_channels=in_channels,
            out_channels=num_classes + 1,
            feature_size=feature_size,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_heads=heads,
        )
        for block in self.body.vit.blocks:
            block.norm_cross_attn.requires_grad_(
                False
            )  # MONAI builds it for cross-attention, which UNETR has none of

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """Image (B, C, H, W) on the 0..1 scale, H = W = image_size → float32 logits [(B, K+1, H, W)].

        Raises:
            ValueError: another size than the position table was built for.
        """
        size = tuple(image.shape[2:])
        if not torch.jit.is_tracing() and size != (self.image_size, self.image_size):
            raise UserFault(
                f"UNETR: image must be {self.image_size} x {self.image_size} pixels, as its table of positions, got "
                f"{size[0]} x {size[1]}; resize it, or build the network for that size."
            )
        return [self.body(self.normalise(image)).float()]
