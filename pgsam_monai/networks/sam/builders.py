"""SAM's three parts, assembled around a backbone."""

from __future__ import annotations

from typing import NamedTuple

from pgsam_monai.base.backbones import BACKBONES, TinyVit, Vit
from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.networks.sam.checkpoint import SAM_LAYERS
from pgsam_monai.networks.sam.efficient_sam import make_efficient
from pgsam_monai.networks.sam.image_encoder import ImageEncoder
from pgsam_monai.networks.sam.mask_decoder import MaskDecoder
from pgsam_monai.networks.sam.prompt_encoder import PromptEncoder
from pgsam_monai.networks.sam.tiny_vit import TinyViTEncoder


class SamParts(NamedTuple):
    """SAM's three parts, fitting each other."""

    image_encoder: ImageEncoder | TinyViTEncoder
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder


def find_backbone(name: str) -> Vit | TinyVit:
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
    decoder_layers: int = SAM_LAYERS,
    skip_features: bool = True,
    from_scratch: bool = False,
) -> SamParts:
    """Assemble SAM's parts with random weights.

    Args:
        backbone: a name in `BACKBONES`.
        image_size: side in pixels, a multiple of 16; any other multiple works too once built.
        num_classes: foreground classes K; the decoder predicts K + 1 masks.
        decoder_layers: of the decoder's two-way transformer, at least SAM's two.
        skip_features: let the decoder add the encoder's features at strides 8 and 4 while it upscales.
            Only a convolutional stem (`vit_tiny`) has them; for other encoders this does nothing.
        from_scratch: the encoder will be trained in full from these random weights, so its batch norm, where it
            has any, learns its statistics.

    Raises:
        ValueError: unknown backbone, a size that is no multiple of 16, fewer than one class or two layers.
    """
    sizes = find_backbone(backbone)
    if num_classes < 1:
        raise UserFault(f"num_classes must be at least 1 (background is not counted), got {num_classes}.")
    if decoder_layers < SAM_LAYERS:
        raise UserFault(f"decoder_layers must be at least SAM's {SAM_LAYERS}, got {decoder_layers}.")
    prompt_encoder = PromptEncoder(image_size=image_size)
    if isinstance(sizes, TinyVit):
        encoder = TinyViTEncoder(
            image_size=image_size, embed_stride=sizes.embed_stride, learns_statistics=from_scratch
        )
        decoder = MaskDecoder(num_classes=num_classes, layers=decoder_layers)
        return SamParts(encoder, prompt_encoder, decoder)
    encoder = _build_vit(sizes, image_size)
    decoder = MaskDecoder(
        num_classes=num_classes,
        layers=decoder_layers,
        mlp_dim=sizes.decoder_mlp_dim,
        skip_channels=encoder.skip_channels if skip_features else (),
    )
    return SamParts(encoder, prompt_encoder, make_efficient(decoder) if sizes.efficient_decoder else decoder)


def _build_vit(sizes: Vit, image_size: int) -> ImageEncoder:
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
