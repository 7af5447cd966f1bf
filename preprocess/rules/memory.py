"""How much memory one training step takes, by arithmetic: so a batch size can be planned without torch."""

from dataclasses import dataclass

from preprocess.rules.encoders import ENCODERS, Encoder


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a network keeps beside SAM's encoder and decoder."""

    values: float = 0
    """kept per image for the backward pass"""
    megabytes: float = 0
    """that don't grow with the batch: parameters with their gradients and optimiser states"""
    said: str = ""
    """how a sentence names it behind the backbone: " and CLIP ViT-B-32" """


NOTHING = Beside()

DECODER_PARAMETERS_M = 5
USABLE_SHARE = 0.85
"""The rest is lost to fragmentation and to other programs."""

CONTEXT_GB = 1.5
"""CUDA context, cuDNN workspace."""

WORDS_PER_TOKEN = 20
"""Values kept for the backward pass per token, block and unit of width: two norms (in float32, so 4), qkv 3,
attention out 1, projection and residual 2, MLP hidden before and after the activation 8, its output
and residual 2."""

TEMPORARIES = 1.6
"""Peak over what is kept: a CPU step in float32 at 224 took 0.32 GB per image with ViT-B (0.20 kept) and 0.04 GB
with vit_tiny (0.03 kept). With low-rank updates, and with the encoder trained in full, LiteMedSAM took 0.87 and 2.36 GB
at 256 (1.59 and 4.10 are arrived at here) and 0.25 and 0.60 at 128 (0.48 and 1.15); MobileSAM 0.04 and 0.13 at 224
(0.07 and 0.19), EfficientSAM-Ti 0.03 (0.07) and -S 0.07 (0.12)."""

HALF_BYTES = 2
FULL_BYTES = 4
TRAINED_BYTES = 16
"""Per trained parameter: value, gradient, AdamW's two moments."""

DECODER_VALUES_PER_TOKEN = 6 * 16 * 64
"""Kept behind a frozen encoder: AutoSAM's head has 6 maps of 64 channels at 4 times the grid's side; SAM's decoder,
of fewer channels there, has its attention besides."""

LOGIT_COPIES = 6
"""Full-size maps kept per class: logits, log-softmax, softmax, one-hot, two gradients."""


def image_gb(
    backbone: str,
    *,
    image_size: int,
    num_classes: int,
    mixed_precision: bool,
    encoder_training: str = "full",
    beside: Beside = NOTHING,
) -> float:
    """Memory of one image of a training batch in GB (activations of the encoders and of the output maps)."""
    vit = ENCODERS[backbone]
    number = HALF_BYTES if mixed_precision else FULL_BYTES
    if encoder_training == "frozen":
        token_values, score_values = _one_block(vit, image_size)
    else:
        token_values, score_values = _all_blocks(vit, image_size, trained=encoder_training == "full")
    token_values += vit.stem_values * image_size**2 + beside.values
    map_bytes = LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * image_size**2
    return TEMPORARIES * (number * (token_values + score_values) + map_bytes) / 1e9


def _all_blocks(vit: Encoder, image_size: int, *, trained: bool) -> tuple[int, int]:
    """Values that a trained or adapted encoder keeps for the backward pass: its tokens, its attention matrices."""
    tokens = sum(
        some.width * WORDS_PER_TOKEN * some.depth * some.padded_tokens(image_size) for some in vit.blocks
    )
    if trained:
        tokens += vit.convolution_values * image_size**2
    keeps = vit.keeps_scores == "always" or (vit.keeps_scores == "trained" and trained)
    return tokens, 2 * keeps * sum(some.scores(image_size) for some in vit.blocks)


def _one_block(vit: Encoder, image_size: int) -> tuple[int, int]:
    """A frozen encoder keeps nothing: its blocks pass through the same memory one after another. Behind it the head or
    decoder keeps its maps, at most 4 times finer than the tokens."""
    width_tokens = max(some.width * some.padded_tokens(image_size) for some in vit.blocks)
    tokens = max(some.padded_tokens(image_size) for some in vit.blocks if some.stride == vit.stride)
    scores = max(some.scores(image_size) // some.depth for some in vit.blocks)
    return width_tokens * WORDS_PER_TOKEN + DECODER_VALUES_PER_TOKEN * tokens, 2 * scores


def fixed_gb(backbone: str, *, encoder_training: str, beside: Beside = NOTHING) -> float:
    """Memory that doesn't grow with the batch in GB: parameters, gradients, optimiser states, context."""
    megabytes = ENCODERS[backbone].parameters_m * bytes_per_weight(encoder_training)
    megabytes += DECODER_PARAMETERS_M * TRAINED_BYTES + beside.megabytes
    return CONTEXT_GB + megabytes / 1e3


def bytes_per_weight(training: str) -> int:
    return TRAINED_BYTES if training == "full" else FULL_BYTES


def largest_batch(
    backbone: str,
    *,
    image_size: int,
    num_classes: int,
    memory_gb: float,
    encoder_training: str,
    mixed_precision: bool,
    beside: Beside = NOTHING,
) -> int:
    """The largest batch that fits into `memory_gb`; 0 where not even one image does."""
    free = USABLE_SHARE * memory_gb - fixed_gb(backbone, encoder_training=encoder_training, beside=beside)
    one = image_gb(
        backbone,
        image_size=image_size,
        num_classes=num_classes,
        mixed_precision=mixed_precision,
        encoder_training=encoder_training,
        beside=beside,
    )
    return max(0, int(free / one))
