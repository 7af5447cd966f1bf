"""What the image encoders keep in memory, by their sizes."""

import itertools
import operator
from dataclasses import dataclass

from pgsam_monai.base.backbones import BACKBONES, VOLUME_BACKBONES, TinyVit, Vit

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
    """side of the windows in tokens; 0 for attention over the whole grid"""

    stride: int = PATCH
    """pixels per side of a token"""

    narrows: bool = False
    """whether a grid smaller than a window is one window, as in SAM's ViT; TinyViT pads it"""

    def padded_tokens(self, image_size: int) -> int:
        """Of an image, in whole windows."""
        return self.windows(image_size) * self._window(image_size) ** 2

    def windows(self, image_size: int) -> int:
        return (-(-image_size // self.stride // self._window(image_size))) ** 2

    def scores(self, image_size: int) -> int:
        """Entries of all attention matrices of an image."""
        return self.heads * self.depth * self.windows(image_size) * self._window(image_size) ** 4

    def _window(self, image_size: int) -> int:
        grid = image_size // self.stride
        return min(self.window, grid) if self.window and self.narrows else self.window or grid


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An image encoder."""

    blocks: tuple[Blocks, ...]
    parameters_m: float
    """millions of parameters"""

    stride: int = PATCH
    """pixels per cell of the embedding"""

    neck_convolution: bool = True
    """whether the neck has a convolution over neighbours"""

    keeps_scores: str = "always"
    """when attention keeps its matrices for the backward pass: "always", "trained" (in full) or "never". The quick
    kernels don't, and can't take a bias that is learnt or made from queries."""

    stem_values: int = 0
    """values kept per pixel by a convolutional stem and the skips it hands to the decoder"""

    convolution_values: int = 0
    """values kept per pixel by the convolutions before and between blocks, where they are trained"""


def _vit(sizes: Vit) -> Encoder:
    many, width, heads = len(sizes.global_blocks), sizes.embed_dim, sizes.heads
    windowed = Blocks(width=width, depth=sizes.depth - many, heads=heads, window=WINDOW, narrows=True)
    whole = Blocks(width=width, depth=many, heads=heads)
    return Encoder(
        blocks=tuple(some for some in (windowed, whole) if some.depth),
        parameters_m=sizes.parameters_m,
        neck_convolution=sizes.neck_convolution,
        # An encoder with a stem is small: that it has no bias either is left out of account.
        keeps_scores="always" if sizes.relative_positions or sizes.stem_widths else "never",
        stem_values=_stem_values(*sizes.stem_widths) if sizes.stem_widths else 0,
    )


def _stem_values(half: int, quarter: int, eighth: int) -> int:
    """3 copies of the channels at 1/4 of the pixels, 6 at 1/16, 6 at 1/64; the decoder's skips: 8 of 64 and 32."""
    return 3 * half // 4 + 6 * quarter // 16 + 6 * eighth // 64 + 8 * (64 // 64 + 32 // 16)


def _tiny_vit(sizes: TinyVit) -> Encoder:
    strides = itertools.accumulate(sizes.merging_strides, operator.mul, initial=sizes.embed_stride)
    stages = zip(sizes.widths, sizes.depths, sizes.heads, sizes.windows, list(strides)[1:], strict=True)
    return Encoder(
        blocks=tuple(
            Blocks(width=width, depth=depth, heads=heads, window=window, stride=stride)
            for width, depth, heads, window, stride in list(stages)[1:]
        ),
        parameters_m=sizes.parameters_m,
        stride=4 * sizes.embed_stride,
        keeps_scores="trained",
        # Maps that the convolutions keep per token of the first stage: 5 of the embedding, 54 of two blocks, 15 of
        # three mergings. LiteMedSAM's token is a pixel, MobileSAM's 16.
        convolution_values=74 * sizes.widths[0] // sizes.embed_stride**2,
    )


ENCODERS = {
    name: _tiny_vit(sizes) if isinstance(sizes, TinyVit) else _vit(sizes)
    for name, sizes in (BACKBONES | VOLUME_BACKBONES).items()
}

TINY_VITS = tuple(name for name, sizes in BACKBONES.items() if isinstance(sizes, TinyVit))
"""Those made of `timm`'s parts, whose attention has one layer for q, k and v."""
