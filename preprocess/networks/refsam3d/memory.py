"""How much memory a training step of RefSAM3D takes, by arithmetic: tokens in windows, and maps up to full size."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Any

from preprocess.rules.clip import CLIPS, UNKNOWN_CLIP
from preprocess.rules.encoders import ENCODERS, Encoder
from preprocess.rules.memory import (
    CONTEXT_GB,
    FULL_BYTES,
    HALF_BYTES,
    LOGIT_COPIES,
    TRAINED_BYTES,
    USABLE_SHARE,
    WORDS_PER_TOKEN,
    bytes_per_weight,
)

TOKEN_SIZES = (4, 8, 16)
"""Voxels per token in plane."""

DEPTH_TOKEN_SIZES = (1, 2, 4, 8, 16)

WINDOW = 8
"""Side of the attention windows in tokens."""

# Values that autograd keeps for the backward pass, counted on ViT-B and vit_mini by hooks on what it saves.
BLOCK_WORDS = {"full": 18, "adapters": 11}
"""Values per token, block and unit of width, by what is trained: a frozen layer doesn't keep its input."""

SCORE_COPIES = 1
"""Matrices of attention, heads x tokens x tokens of a window."""

STAGES = 4
"""Of encoder and decoder."""

NECK_VALUES = {True: 6200, False: 1800}
"""Per token in the necks of all stages, with their 3 x 3 x 3 convolutions or without."""

PROMPT_VALUES, TEXT_HEADS = 5500, 8
"""Per token in the cross-attention of all stages, and what its weights come in, one of each text."""

TWO_WAY_VALUES = 4400
"""Per token of SAM's two-way transformer."""

WIDTHS = (64, 32, 16, 16)
"""Channels after each step of the decoder."""

STEP_COPIES = 3.3
"""Maps per step of the decoder."""

FUSION_COPIES = 4
"""Maps of the last width at full size: joined with the image, convolved, normed, and what the masks are made of."""

FINE_COPIES = 5
"""Maps of each level of the volume's own features: of two convolutions, of their norms, and of what lies between."""

FINE_STEPS = 3
"""The last steps of the decoder, which have such a level."""

TOKEN_TEMPORARIES, MAP_TEMPORARIES = 1.6, 1.7
"""Peak over what is kept, of tokens and of full-size maps, whose gradients and reordered copies are large. Fitted to
steps of ViT-B in float32 on a CPU, with and without checkpointing, tokens of 8 and of 16 voxels (docs/results.md)."""

HEAD_PARAMETERS_M = 14
"""Millions, always trained: necks 8, two-way transformer 3.3, texts, cross-attention and decoder 2.7."""

VOCABULARY = 49_408
"""Tokens that CLIP's text tower knows."""


def patch_gb(
    backbone: str,
    *,
    patch: Sequence[int],
    token_size: Sequence[int],
    num_classes: int,
    encoder_training: str,
    checkpointing: bool,
    mixed_precision: bool,
    window: int = WINDOW,
    fine_features: bool = False,
    supervised_scales: int = 1,
    mask_stride: int = 1,
    decoder_widths: Sequence[int] = WIDTHS,
) -> float:
    """Memory of one patch (rows, columns, slices) of a training batch in GB."""
    grid = [ceil(side / size) for side, size in zip(patch, token_size, strict=True)]
    vit, number = ENCODERS[backbone], HALF_BYTES if mixed_precision else FULL_BYTES
    tokens = _encoder_values(vit, grid, window, encoder_training, checkpointing)
    tokens += prod(grid) * _head_values(vit, num_classes)
    map_bytes = number * _decoder_values(patch, token_size, mask_stride, decoder_widths, fine_features)
    scales = [
        (decoder_widths[-1 - scale], _voxels(patch, token_size, mask_stride, STAGES - scale))
        for scale in range(supervised_scales)
    ]
    logits = prod(patch) + sum(voxels for _, voxels in scales[1:])
    map_bytes += LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * logits
    if mixed_precision:  # masks are products in float32: their features are kept in that as well
        map_bytes += FULL_BYTES * sum(width * voxels for width, voxels in scales)
    return (TOKEN_TEMPORARIES * number * tokens + MAP_TEMPORARIES * map_bytes) / 1e9


def fixed_gb(
    backbone: str,
    *,
    encoder_training: str,
    num_classes: int = 0,
    clip_model: str | None = "ViT-B-32-quickgelu",
    clip_training: str = "frozen",
) -> float:
    """Memory that doesn't grow with the batch in GB: parameters, optimiser states, context, the classes' texts.

    `clip_model`: None where a sentence encoder reads them, of which a few megabytes of numbers are left.
    """
    vit = ENCODERS[backbone]
    whole, adapters = bytes_per_weight(encoder_training), encoder_training != "frozen"
    megabytes = vit.parameters_m * whole + HEAD_PARAMETERS_M * TRAINED_BYTES
    megabytes += adapters * TRAINED_BYTES * sum(some.depth * some.width**2 for some in vit.blocks) / 1e6
    if clip_model is None:
        return CONTEXT_GB + megabytes / 1e3
    clip = CLIPS.get(clip_model, CLIPS[UNKNOWN_CLIP])
    tower = VOCABULARY * clip.text_width + 12 * clip.text_depth * clip.text_width**2
    megabytes += tower * bytes_per_weight(clip_training) / 1e6
    if clip_training != "frozen":
        words = clip.text_width * WORDS_PER_TOKEN * clip.text_depth * clip.text_tokens * (num_classes + 1)
        megabytes += words * FULL_BYTES / 1e6
    return CONTEXT_GB + megabytes / 1e3


def step_gb(decided: Mapping[str, Any], **changes: Any) -> tuple[float, float]:
    """(fixed, per patch) in GB of a step of a plan's network, `changes` standing in for what was decided."""
    values = ChainMap(changes, decided)
    classes, training = len(values["labels"]) - 1, values["encoder_training"]
    fixed = fixed_gb(
        values["backbone"],
        encoder_training=training,
        num_classes=classes,
        clip_model=values["clip_model"] if values["text_encoder"] is None else None,
        clip_training=values["clip_training"],
    )
    one = patch_gb(
        values["backbone"],
        patch=values["patch"],
        token_size=values["token_size"],
        num_classes=classes,
        encoder_training=training,
        checkpointing=values["checkpointing"],
        mixed_precision=values["target"] == "gpu",
        window=values.get("window", WINDOW),
        fine_features=values["fine_features"],
        supervised_scales=values["supervised_scales"],
        mask_stride=values["mask_stride"],
        decoder_widths=values["decoder_widths"],
    )
    return fixed, one


def largest_batch(decided: Mapping[str, Any], **changes: Any) -> int:
    """The most patches whose step fits into the decided memory; 0 where not even one does."""
    fixed, one = step_gb(decided, **changes)
    return max(0, int((USABLE_SHARE * decided["memory_gb"] - fixed) / one))


def window_sides(grid: Sequence[int], largest: int) -> list[int]:
    """The window's sides in tokens, as the network chooses them: at most `largest`, dividing the grid where it can."""
    return [
        next(
            (side for side in range(min(largest, tokens), (largest - 1) // 2, -1) if tokens % side == 0),
            min(largest, tokens),
        )
        for tokens in grid
    ]


def _encoder_values(
    vit: Encoder, grid: Sequence[int], window: int, encoder_training: str, checkpointing: bool
) -> float:
    """A frozen encoder keeps one block at a time, a checkpointed one what enters each block besides."""
    sides = window_sides(grid, window)
    tokens = prod(ceil(side / own) * own for side, own in zip(grid, sides, strict=True))
    words = BLOCK_WORDS["full" if encoder_training == "full" else "adapters"]
    copies = 0 if vit.keeps_scores == "never" else SCORE_COPIES
    blocks = [
        (some.depth, tokens * (some.width * words + copies * some.heads * prod(sides))) for some in vit.blocks
    ]
    if encoder_training == "frozen":
        return max(values for _, values in blocks)
    if checkpointing:
        entering = tokens * sum(some.depth * some.width for some in vit.blocks)
        return entering + max(values for _, values in blocks)
    return sum(depth * values for depth, values in blocks)


def _head_values(vit: Encoder, num_classes: int) -> float:
    """Per token between encoder and decoder: necks, cross-attention to all classes' texts, both ways."""
    texts = STAGES * TEXT_HEADS * (num_classes + 1)
    return NECK_VALUES[vit.neck_convolution] + PROMPT_VALUES + texts + TWO_WAY_VALUES


def _decoder_values(
    patch: Sequence[int],
    token_size: Sequence[int],
    mask_stride: int,
    widths: Sequence[int],
    fine_features: bool,
) -> float:
    """Maps of every step, of the volume's own features, and of the fusion with the image."""
    values = float(FUSION_COPIES * widths[-1] * prod(patch)) if mask_stride == 1 else 0.0
    for step, width in enumerate(widths, start=1):
        fine = FINE_COPIES if fine_features and step > STAGES - FINE_STEPS else 0
        values += (STEP_COPIES + fine) * width * _voxels(patch, token_size, mask_stride, step)
    return values


def _voxels(patch: Sequence[int], token_size: Sequence[int], mask_stride: int, step: int) -> float:
    """Of the decoder's maps after so many of its steps: the last ones double whatever is left to double."""
    smaller = mask_stride * 2 ** (STAGES - step)
    return prod(side / min(size, smaller) for side, size in zip(patch, token_size, strict=True))
