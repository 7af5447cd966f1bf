"""SAM's image encoder for any input size."""

from __future__ import annotations

from typing import NamedTuple

from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.position import grid_of, resize_absolute
from pgsam_monai.networks.sam.attention import LAYER_NORM, Block
from pgsam_monai.networks.sam.norm import LayerNorm2d
from pgsam_monai.networks.sam.stem import ConvStem

PATCH = 16
"""Pixels per token side, of every backbone."""


class ImageFeatures(NamedTuple):
    """What the image encoder hands to the mask decoder."""

    embedding: Tensor
    """(B, 256, S/stride, S/stride); the stride is the encoder's, 16 for most"""

    skips: tuple[Tensor, ...]
    """features at strides 8 and 4, channel first; empty when the encoder has none"""


class ImageEncoder(ImageEncoderViT):
    """`segment_anything`'s encoder with its parameters (q, k and v apart), at any size and grid.

    The tables belong to the size that the encoder is built for; at another one they are resized on the fly.
    At 1024 pixels, with the same weights, the output is `segment_anything`'s own.
    """

    stride = PATCH
    """Pixels per cell of the embedding."""
    lora_targets = ("q", "v")
    """The layers that low-rank updates adapt in every block."""

    def __init__(
        self,
        *,
        image_size: int,
        embed_dim: int,
        depth: int,
        heads: int,
        global_blocks: tuple[int, ...],
        window: int = 14,
        mlp_ratio: float = 4.0,
        relative_positions: bool = True,
        stem_widths: tuple[int, int, int] | None = None,
        neck_convolution: bool = True,
        out_channels: int = 256,
    ) -> None:
        """
        Args:
            image_size: side in pixels that the position tables are made for; a multiple of 16.
            embed_dim: channels of a token.
            depth: transformer blocks.
            heads: attention heads.
            global_blocks: the blocks (from 0) that attend over the whole grid; the others use windows.
            window: side of a window in tokens.
            mlp_ratio: width of a block's hidden layer over `embed_dim`.
            relative_positions: whether attention gets SAM's relative position bias.
            stem_widths: channels at strides 2, 4, 8 of a convolutional stem; None for SAM's single one.
            neck_convolution: whether SAM's 3×3 convolution follows the neck's 1×1.
            out_channels: channels of the image embedding.

        Raises:
            ValueError: `image_size` is no multiple of 16.
        """
        check_size(image_size, image_size, who="ImageEncoder's image_size")
        super().__init__(
            img_size=image_size,
            patch_size=PATCH,
            embed_dim=embed_dim,
            depth=0,
            out_chans=out_channels,
            norm_layer=LAYER_NORM,
        )
        self.neck[1], self.neck[3] = LayerNorm2d(out_channels), LayerNorm2d(out_channels)
        self.neck = self.neck if neck_convolution else self.neck[:2]
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.skip_channels: tuple[int, ...] = ()
        if stem_widths is not None:
            self.patch_embed = ConvStem(in_channels=3, widths=stem_widths, embed_dim=embed_dim)
            self.skip_channels = self.patch_embed.skip_channels
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                heads=heads,
                mlp_ratio=mlp_ratio,
                window=0 if index in global_blocks else window,
                grid=image_size // PATCH,
                relative_positions=relative_positions,
            )
            for index in range(depth)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W), normalised, H and W multiples of 16 → embedding (B, 256, H/16, W/16)."""
        return self.encode(image).embedding

    def encode(self, image: Tensor, *, depth: int = 1) -> ImageFeatures:
        """As `forward`, with the features that the mask decoder may add while it upscales.

        Args:
            image: (B * depth, 3, H, W).
            depth: that many consecutive images are slices of one volume, for blocks that let them see each other.
        """
        tokens, skips = self._embed(image)
        tokens = tokens + resize_absolute(self.pos_embed, grid_of(tokens)).to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, depth)
        return ImageFeatures(self.neck(tokens.permute(0, 3, 1, 2)), skips)

    def _embed(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        if isinstance(self.patch_embed, ConvStem):
            return self.patch_embed(image)
        return self.patch_embed(image), ()


def check_size(height: int, width: int, *, who: str) -> None:
    """Raise ValueError unless both sides are positive multiples of the patch (16 pixels)."""
    if height < PATCH or width < PATCH or height % PATCH or width % PATCH:
        near = max(PATCH, round(max(height, width) / PATCH) * PATCH)
        raise UserFault(
            f"{who}: sides must be multiples of {PATCH} pixels, got {height} x {width}; "
            f"resize or pad the image, for example to {near} x {near}."
        )
