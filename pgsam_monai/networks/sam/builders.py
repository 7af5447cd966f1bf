"""The backbones and how SAM's three parts are assembled from them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import NamedTuple

from pgsam_monai.networks.sam.image_encoder import ImageEncoder
from pgsam_monai.networks.sam.mask_decoder import MaskDecoder
from pgsam_monai.networks.sam.prompt_encoder import PromptEncoder


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The sizes of one image encoder and of the decoder that goes with it."""

    embed_dim: int
    """Channels of a token."""
    depth: int
    """Transformer blocks."""
    heads: int
    """Attention heads per block."""
    global_blocks: tuple[int, ...]
    """Blocks, from 0, that attend over the whole grid; the others use 14 × 14 windows."""
    mlp_ratio: float = 4.0
    """Hidden width of a block over ``embed_dim``."""
    relative_positions: bool = True
    """Whether attention gets SAM's relative position bias."""
    stem_widths: tuple[int, int, int] | None = None
    """Channels at strides 2, 4, 8 of a convolutional stem; None for SAM's patch convolution."""
    neck_convolution: bool = True
    """Whether SAM's 3×3 convolution follows the neck's 1×1."""
    decoder_mlp_dim: int = 2048
    """Hidden width of the mask decoder's two-way transformer."""


BACKBONES: dict[str, Backbone] = {
    "vit_b": Backbone(embed_dim=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11)),
    "vit_l": Backbone(embed_dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
    "vit_h": Backbone(embed_dim=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31)),
    # Ours, for CPUs and tests, trained from scratch.
    "vit_tiny": Backbone(
        embed_dim=192,
        depth=2,
        heads=3,
        global_blocks=(0, 1),
        mlp_ratio=3.0,
        relative_positions=False,
        stem_widths=(16, 48, 96),
        neck_convolution=False,
        decoder_mlp_dim=512,
    ),
}
"""Image encoders by name: SAM's three, and ``vit_tiny``, which has no published weights."""


class SamParts(NamedTuple):
    """SAM's three parts, fitting each other."""

    image_encoder: ImageEncoder
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder


def find_backbone(name: str) -> Backbone:
    """The backbone of that name; ValueError naming the known ones and the nearest."""
    if name in BACKBONES:
        return BACKBONES[name]
    near = difflib.get_close_matches(str(name), BACKBONES, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got '{name}'.{hint}")


def build_sam(*, backbone: str, image_size: int, num_classes: int, skip_features: bool = True) -> SamParts:
    """Assemble SAM's parts with random weights.

    Args:
        backbone: a name in ``BACKBONES``.
        image_size: side in pixels, a multiple of 16; any other multiple works too once built.
        num_classes: foreground classes K; the decoder predicts K + 1 masks.
        skip_features: let the decoder add the encoder's features at strides 8 and 4 while it upscales.
            Only a convolutional stem (``vit_tiny``) has them; for SAM's own encoders this does nothing.

    Raises:
        ValueError: unknown backbone, a size that is no multiple of 16, fewer than one class.
    """
    sizes = find_backbone(backbone)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1 (background is not counted), got {num_classes}.")
    encoder = ImageEncoder(
        image_size=image_size,
        embed_dim=sizes.embed_dim,
        depth=sizes.depth,
        heads=sizes.heads,
        global_blocks=sizes.global_blocks,
        mlp_ratio=sizes.mlp_ratio,
        relative_positions=sizes.relative_positions,
        stem_widths=sizes.stem_widths,
        neck_convolution=sizes.neck_convolution,
    )
    decoder = MaskDecoder(
        num_classes=num_classes,
        mlp_dim=sizes.decoder_mlp_dim,
        skip_channels=encoder.skip_channels if skip_features else (),
    )
    return SamParts(encoder, PromptEncoder(image_size=image_size), decoder)
