"""The backbones and how SAM's three parts are assembled from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.networks.sam.efficient_sam import make_efficient
from pgsam_monai.networks.sam.image_encoder import ImageEncoder
from pgsam_monai.networks.sam.mask_decoder import MaskDecoder
from pgsam_monai.networks.sam.prompt_encoder import PromptEncoder
from pgsam_monai.networks.sam.tiny_vit import TinyViTEncoder


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The sizes of one ViT and of the decoder that goes with it."""

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
    efficient_decoder: bool = False
    """Whether the decoder is EfficientSAM's instead of SAM's."""


@dataclass(frozen=True, kw_only=True)
class TinyBackbone:
    """A TinyViT of 5 million parameters, with SAM's decoder."""

    embed_stride: int
    """Pixels per side of a token of the first stage; the embedding's cells are 4 times as wide."""


def _efficient(*, embed_dim: int, heads: int) -> Backbone:
    """EfficientSAM's plain ViT: all blocks global, no relative positions."""
    return Backbone(
        embed_dim=embed_dim,
        depth=12,
        heads=heads,
        global_blocks=tuple(range(12)),
        relative_positions=False,
        efficient_decoder=True,
    )


BACKBONES: dict[str, Backbone | TinyBackbone] = {
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
    "lite_medsam": TinyBackbone(embed_stride=1),
    "mobile_sam": TinyBackbone(embed_stride=4),
    "efficient_sam_ti": _efficient(embed_dim=192, heads=3),
    "efficient_sam_s": _efficient(embed_dim=384, heads=6),
}
"""Image encoders by name. ``vit_tiny`` alone has no published weights; MedSAM's are ``vit_b``'s."""


class SamParts(NamedTuple):
    """SAM's three parts, fitting each other."""

    image_encoder: ImageEncoder | TinyViTEncoder
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder


def find_backbone(name: str) -> Backbone | TinyBackbone:
    """The backbone of that name; ValueError naming the known ones and the nearest."""
    if name in BACKBONES:
        return BACKBONES[name]
    raise UserFault(
        f"backbone must be one of {', '.join(BACKBONES)}, got '{name}'.{did_you_mean(name, BACKBONES)}"
    )


def build_sam(
    *,
    backbone: str,
    image_size: int,
    num_classes: int,
    skip_features: bool = True,
    from_scratch: bool = False,
) -> SamParts:
    """Assemble SAM's parts with random weights.

    Args:
        backbone: a name in ``BACKBONES``.
        image_size: side in pixels, a multiple of 16; any other multiple works too once built.
        num_classes: foreground classes K; the decoder predicts K + 1 masks.
        skip_features: let the decoder add the encoder's features at strides 8 and 4 while it upscales.
            Only a convolutional stem (``vit_tiny``) has them; for other encoders this does nothing.
        from_scratch: the encoder will be trained in full from these random weights, so its batch norm, where it
            has any, learns its statistics.

    Raises:
        ValueError: unknown backbone, a size that is no multiple of 16, fewer than one class.
    """
    sizes = find_backbone(backbone)
    if num_classes < 1:
        raise UserFault(f"num_classes must be at least 1 (background is not counted), got {num_classes}.")
    prompt_encoder = PromptEncoder(image_size=image_size)
    if isinstance(sizes, TinyBackbone):
        encoder = TinyViTEncoder(
            image_size=image_size, embed_stride=sizes.embed_stride, learns_statistics=from_scratch
        )
        return SamParts(encoder, prompt_encoder, MaskDecoder(num_classes=num_classes))
    encoder = _build_vit(sizes, image_size)
    decoder = MaskDecoder(
        num_classes=num_classes,
        mlp_dim=sizes.decoder_mlp_dim,
        skip_channels=encoder.skip_channels if skip_features else (),
    )
    return SamParts(encoder, prompt_encoder, make_efficient(decoder) if sizes.efficient_decoder else decoder)


def _build_vit(sizes: Backbone, image_size: int) -> ImageEncoder:
    return ImageEncoder(
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
