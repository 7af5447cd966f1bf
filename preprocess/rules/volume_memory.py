"""How much memory a training step of RefSAM3D takes, by arithmetic: tokens in windows, and maps up to full size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Any

from .encoders import BACKBONES, Backbone
from .memory import (
    CLIPS,
    CONTEXT_GB,
    FULL_BYTES,
    HALF_BYTES,
    LOGIT_COPIES,
    TRAINED_BYTES,
    UNKNOWN_CLIP,
    USABLE_SHARE,
)

TOKEN_SIZES = (4, 8, 16)
"""Voxels per token in plane."""

DEPTH_TOKEN_SIZES = (1, 2, 4, 8, 16)

WINDOW = 8
"""Side of the attention windows in tokens."""

# Estimates by counting, not measured yet. Values are kept for the backward pass.
WORDS_PER_TOKEN = 20
"""Values per token, block and unit of width, as in `memory.WORDS_PER_TOKEN`."""

ADAPTER_WORDS = 4
"""Besides, with adapters: two maps of half the width, one activated, one convolved, and what is added."""

SCORE_COPIES = 2
"""Matrices of attention, heads x tokens x tokens of a window: with the relative positions added, and their softmax."""

DIM, STAGES = 256, 4
"""Width of everything behind the encoder, and stages of encoder and decoder."""

NECK_COPIES = 6
"""Maps per stage of the encoder: convolution, norm, convolution, norm (in float32, so 2)."""

PROMPT_COPIES = 7
"""Maps per stage that meets the texts: query, result, projection, residual, norm, and its share of the joint layer."""

TEXT_HEADS = 8
TWO_WAY_VALUES = 4000
"""Per token of SAM's two-way transformer: keys, values and queries of 128 in 5 attentions, two residuals and norms."""

WIDTHS = (64, 32, 16, 16)
"""Channels after each step of the decoder."""

STEP_COPIES = 8
"""Maps per step: enlarged, skip before and after it is enlarged, sum, norm (in float32, so 2), activated, mixed."""

FUSION_COPIES = 5
"""Maps of the last width at full size: joined with the image, convolved, norm (2), activated."""

TEMPORARIES = 1.3
"""Peak over what is kept."""

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
) -> float:
    """Memory of one patch (rows, columns, slices) of a training batch in GB."""
    grid = [ceil(side / size) for side, size in zip(patch, token_size, strict=True)]
    kept = _encoder_values(BACKBONES[backbone], grid, window, encoder_training, checkpointing)
    kept += _head_values(prod(grid), num_classes)
    kept += _decoder_values(patch, token_size)
    number = HALF_BYTES if mixed_precision else FULL_BYTES
    map_bytes = LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * prod(patch)
    return TEMPORARIES * (number * kept + map_bytes) / 1e9


def fixed_gb(
    backbone: str,
    *,
    encoder_training: str,
    num_classes: int = 0,
    clip_model: str = "ViT-B-32-quickgelu",
    clip_training: str = "frozen",
) -> float:
    """Memory that doesn't grow with the batch in GB: parameters, optimiser states, context, the classes' texts."""
    vit = BACKBONES[backbone]
    whole, adapters = _bytes_per_weight(encoder_training), encoder_training != "frozen"
    megabytes = vit.parameters_m * whole + HEAD_PARAMETERS_M * TRAINED_BYTES
    megabytes += adapters * TRAINED_BYTES * sum(some.depth * some.width**2 for some in vit.blocks) / 1e6
    clip = CLIPS.get(clip_model, CLIPS[UNKNOWN_CLIP])
    tower = VOCABULARY * clip.text_width + 12 * clip.text_depth * clip.text_width**2
    megabytes += tower * _bytes_per_weight(clip_training) / 1e6
    if clip_training != "frozen":
        words = clip.text_width * WORDS_PER_TOKEN * clip.text_depth * clip.text_tokens * (num_classes + 1)
        megabytes += words * FULL_BYTES / 1e6
    return CONTEXT_GB + megabytes / 1e3


def step_gb(decided: Mapping[str, Any], **changes: Any) -> tuple[float, float]:
    """(fixed, per patch) in GB of a step of a plan's network, `changes` standing in for what was decided."""
    values = {**decided, **changes}
    classes, training = len(values["labels"]) - 1, values["encoder_training"]
    fixed = fixed_gb(
        values["backbone"],
        encoder_training=training,
        num_classes=classes,
        clip_model=values["clip_model"],
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
    )
    return fixed, one


def largest_batch(decided: Mapping[str, Any], **changes: Any) -> int:
    """The most patches whose step fits into the decided memory; 0 where not even one does."""
    fixed, one = step_gb(decided, **changes)
    return max(0, int((USABLE_SHARE * decided["memory_gb"] - fixed) / one))


def _encoder_values(
    vit: Backbone, grid: Sequence[int], window: int, encoder_training: str, checkpointing: bool
) -> float:
    """A frozen encoder keeps one block at a time, a checkpointed one what enters each block besides."""
    sides = [min(window, side) for side in grid]
    tokens = prod(ceil(side / own) * own for side, own in zip(grid, sides, strict=True))
    words = WORDS_PER_TOKEN + ADAPTER_WORDS * (encoder_training != "frozen")
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


def _head_values(tokens: int, num_classes: int) -> float:
    """Between encoder and decoder: the stages' necks, their cross-attention to all classes' texts, both ways."""
    per_stage = DIM * (NECK_COPIES + PROMPT_COPIES) + SCORE_COPIES * TEXT_HEADS * (num_classes + 1)
    return tokens * (STAGES * per_stage + TWO_WAY_VALUES)


def _decoder_values(patch: Sequence[int], token_size: Sequence[int]) -> float:
    """Maps of every step, whose last ones double whatever is left to double, and of the fusion with the image."""
    values = float(FUSION_COPIES * WIDTHS[-1] * prod(patch))
    for step, width in enumerate(WIDTHS, start=1):
        smaller = 2 ** (STAGES - step)
        voxels = prod(side / min(size, smaller) for side, size in zip(patch, token_size, strict=True))
        values += STEP_COPIES * width * voxels
    return values


def _bytes_per_weight(training: str) -> int:
    return TRAINED_BYTES if training == "full" else FULL_BYTES
