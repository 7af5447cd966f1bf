"""The image encoders by their sizes, for the arithmetic of memory, and the weights that belong to them."""

from dataclasses import dataclass
from typing import Any

PATCH = 16
"""Pixels that every input side is a multiple of, and a ViT's token is wide."""

WINDOW = 14


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Transformer blocks of one kind."""

    width: int
    depth: int
    heads: int
    window: int = 0
    """Side of the windows in tokens; 0 for attention over the whole grid."""

    stride: int = PATCH
    """Pixels per side of a token."""

    def padded_tokens(self, image_size: int) -> int:
        """Of an image, in whole windows."""
        return self.windows(image_size) * self._window(image_size) ** 2

    def windows(self, image_size: int) -> int:
        return (-(-image_size // self.stride // self._window(image_size))) ** 2

    def scores(self, image_size: int) -> int:
        """Entries of all attention matrices of an image."""
        return self.heads * self.depth * self.windows(image_size) * self._window(image_size) ** 4

    def _window(self, image_size: int) -> int:
        return self.window or image_size // self.stride


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """An image encoder."""

    blocks: tuple[Blocks, ...]
    parameters_m: float
    """Millions of parameters."""

    weights: str | None
    """Name of its pretrained weights; None where none exist."""

    stride: int = PATCH
    """Pixels per cell of the embedding."""

    neck_convolution: bool = True
    """Whether the neck has a convolution over neighbours."""

    keeps_scores: str = "always"
    """When attention keeps its matrices for the backward pass: "always", "trained" (in full) or "never". The quick
    kernels don't, and can't take a bias that is learnt or made from queries."""

    stem_values: int = 0
    """Values kept per pixel by a convolutional stem and the skips it hands to the decoder."""

    convolution_values: int = 0
    """Values kept per pixel by the convolutions before and between blocks, where they are trained."""


def _vit(
    *,
    width: int,
    depth: int,
    heads: int,
    global_blocks: int,
    parameters_m: float,
    weights: str | None,
    **kind: Any,
) -> Backbone:
    windowed = Blocks(width=width, depth=depth - global_blocks, heads=heads, window=WINDOW)
    whole = Blocks(width=width, depth=global_blocks, heads=heads)
    blocks = tuple(some for some in (windowed, whole) if some.depth)
    return Backbone(blocks=blocks, parameters_m=parameters_m, weights=weights, **kind)


def _tiny_vit(*, embed_stride: int, weights: str, convolution_values: int) -> Backbone:
    """TinyViT of 5 million parameters and SAM's neck, an embedding cell 4 tokens of the first stage wide."""
    stages = ((128, 2, 4, 7, 2), (160, 6, 5, 14, 4), (320, 2, 10, 7, 4))
    blocks = tuple(
        Blocks(width=width, depth=depth, heads=heads, window=window, stride=stride * embed_stride)
        for width, depth, heads, window, stride in stages
    )
    return Backbone(
        blocks=blocks, parameters_m=6, weights=weights, stride=4 * embed_stride, keeps_scores="trained",
        convolution_values=convolution_values,
    )  # fmt: skip


BACKBONES = {
    # Stem: 3 copies of 16 channels at 1/4 of the pixels, 6 of 48 at 1/16, 6 of 96 at 1/64; skips: 8 of 64 and 32.
    "vit_tiny": _vit(
        width=192, depth=2, heads=3, global_blocks=2, parameters_m=1, weights=None, stem_values=63
    ),
    # RefSAM3D's, for volumes alone.
    "vit_mini": _vit(
        width=192, depth=4, heads=6, global_blocks=0, parameters_m=2, weights=None, neck_convolution=False
    ),
    "vit_b": _vit(width=768, depth=12, heads=12, global_blocks=4, parameters_m=87, weights="sam_vit_b"),
    "vit_l": _vit(width=1024, depth=24, heads=16, global_blocks=4, parameters_m=305, weights="sam_vit_l"),
    "vit_h": _vit(width=1280, depth=32, heads=16, global_blocks=4, parameters_m=632, weights="sam_vit_h"),
    # Maps that the convolutions keep per token of the first stage, of 64 channels: 5 of the embedding, 54 of two
    # blocks, 15 of three mergings. LiteMedSAM's token is a pixel, MobileSAM's 16.
    "lite_medsam": _tiny_vit(embed_stride=1, weights="lite_medsam", convolution_values=74 * 64),
    "mobile_sam": _tiny_vit(embed_stride=4, weights="mobile_sam", convolution_values=74 * 64 // 16),
    "efficient_sam_ti": _vit(
        width=192, depth=12, heads=3, global_blocks=12, parameters_m=6, weights="efficient_sam_ti",
        keeps_scores="never",
    ),
    "efficient_sam_s": _vit(
        width=384, depth=12, heads=6, global_blocks=12, parameters_m=22, weights="efficient_sam_s",
        keeps_scores="never",
    ),
}  # fmt: skip

TINY_VITS = ("lite_medsam", "mobile_sam")
"""Those made of `timm`'s parts, whose attention has one layer for q, k and v."""
