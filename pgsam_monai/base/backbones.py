"""The image encoders by their sizes: what networks are built by, and the planner's arithmetic of memory counts with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Vit:
    """The sizes of one ViT and of the decoder that goes with it."""

    embed_dim: int
    """channels of a token"""
    depth: int
    """transformer blocks"""
    heads: int
    """attention heads per block"""
    global_blocks: tuple[int, ...]
    """blocks, from 0, that attend over the whole grid; the others use 14 × 14 windows"""
    parameters_m: float
    """millions of parameters"""
    mlp_ratio: float = 4.0
    """hidden width of a block over `embed_dim`"""
    relative_positions: bool = True
    """whether attention gets SAM's relative position bias"""
    stem_widths: tuple[int, int, int] | None = None
    """channels at strides 2, 4, 8 of a convolutional stem; None for SAM's patch convolution"""
    neck_convolution: bool = True
    """whether SAM's 3×3 convolution follows the neck's 1×1"""
    decoder_mlp_dim: int = 2048
    """hidden width of the mask decoder's two-way transformer"""
    efficient_decoder: bool = False
    """whether the decoder is EfficientSAM's instead of SAM's"""


@dataclass(frozen=True, kw_only=True)
class TinyVit:
    """A TinyViT of 5 million parameters, with SAM's neck and decoder."""

    embed_stride: int
    """pixels per side of a token of the first stage; the embedding's cells are 4 times as wide"""
    parameters_m: float = 6
    """millions of parameters, the neck's included"""
    widths: tuple[int, ...] = (64, 128, 160, 320)
    """channels of each stage"""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """blocks of each stage; the first stage is convolutional"""
    heads: tuple[int, ...] = (2, 4, 5, 10)
    """attention heads of each stage; the first has none"""
    windows: tuple[int, ...] = (7, 7, 14, 7)
    """side of each stage's attention windows in tokens; the first has none"""
    merging_strides: tuple[int, ...] = (1, 2, 2, 1)
    """what each stage divides the grid's sides by, before its blocks"""


def _efficient(*, embed_dim: int, heads: int, parameters_m: float) -> Vit:
    """EfficientSAM's plain ViT: all blocks global, no relative positions."""
    return Vit(
        embed_dim=embed_dim, depth=12, heads=heads, global_blocks=tuple(range(12)), relative_positions=False,
        efficient_decoder=True, parameters_m=parameters_m,
    )  # fmt: skip


BACKBONES: dict[str, Vit | TinyVit] = {
    # Ours, for CPUs and tests, trained from scratch or from drawn_tiny.
    "vit_tiny": Vit(
        embed_dim=192, depth=2, heads=3, global_blocks=(0, 1), mlp_ratio=3.0, relative_positions=False,
        stem_widths=(16, 48, 96), neck_convolution=False, decoder_mlp_dim=512, parameters_m=1,
    ),
    "vit_b": Vit(embed_dim=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11), parameters_m=87),
    "vit_l": Vit(embed_dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23), parameters_m=305),
    "vit_h": Vit(embed_dim=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31), parameters_m=632),
    "lite_medsam": TinyVit(embed_stride=1),
    "mobile_sam": TinyVit(embed_stride=4),
    "efficient_sam_ti": _efficient(embed_dim=192, heads=3, parameters_m=6),
    "efficient_sam_s": _efficient(embed_dim=384, heads=6, parameters_m=22),
}  # fmt: skip
"""Image encoders of slices by name. `vit_tiny` alone has no published weights but ours, which are only a start;
MedSAM's are `vit_b`'s."""

VOLUME_BACKBONES: dict[str, Vit] = {
    # Ours, for CPUs and tests, trained from scratch. The necks' convolutions would take most of its time.
    "vit_mini": Vit(
        embed_dim=192, depth=4, heads=6, global_blocks=(), mlp_ratio=3.0, neck_convolution=False, parameters_m=2
    ),
    **{
        name: sizes
        for name, sizes in BACKBONES.items()
        if isinstance(sizes, Vit) and sizes.stem_widths is None
    },
}  # fmt: skip
"""RefSAM3D's image encoders, plain ViTs; which blocks were global is of no consequence there. `vit_mini` alone has no
published weights."""
