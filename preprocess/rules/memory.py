"""How much memory one training step takes, by arithmetic: so a batch size can be planned without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A ViT image encoder."""

    width: int
    depth: int
    heads: int
    global_blocks: int
    parameters_m: float
    """Millions of parameters."""

    weights: str | None
    """Name of its pretrained weights; None where none exist."""

    stem_values: int = 0
    """Values kept per pixel by a convolutional stem and the skips it hands to the decoder."""


BACKBONES = {
    # Stem: 3 copies of 16 channels at 1/4 of the pixels, 6 of 48 at 1/16, 6 of 96 at 1/64; skips: 8 of 64 and 32.
    "vit_tiny": Backbone(
        width=192, depth=2, heads=3, global_blocks=2, parameters_m=1, weights=None, stem_values=63
    ),
    "vit_b": Backbone(width=768, depth=12, heads=12, global_blocks=4, parameters_m=87, weights="sam_vit_b"),
    "vit_l": Backbone(width=1024, depth=24, heads=16, global_blocks=4, parameters_m=305, weights="sam_vit_l"),
    "vit_h": Backbone(width=1280, depth=32, heads=16, global_blocks=4, parameters_m=632, weights="sam_vit_h"),
}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A vision-language model: its image tower, a ViT on its own input size, and its text tower."""

    image_width: int
    image_depth: int
    image_tokens: int
    text_width: int
    text_depth: int
    text_tokens: int = 77
    parameters_m: float
    """Millions of parameters of both towers."""

    weights: str | None
    """Tag of its published weights; None where none exist."""


CLIPS = {
    "clip_tiny": Clip(
        image_width=128, image_depth=3, image_tokens=50, text_width=128, text_depth=2, parameters_m=8, weights=None,
    ),
    "ViT-B-32-quickgelu": Clip(
        image_width=768, image_depth=12, image_tokens=50, text_width=512, text_depth=12, parameters_m=151,
        weights="openai",
    ),
    "ViT-B-16-quickgelu": Clip(
        image_width=768, image_depth=12, image_tokens=197, text_width=512, text_depth=12, parameters_m=150,
        weights="openai",
    ),
    "ViT-L-14-quickgelu": Clip(
        image_width=1024, image_depth=24, image_tokens=257, text_width=768, text_depth=12, parameters_m=428,
        weights="openai",
    ),
}  # fmt: skip
UNKNOWN_CLIP = "ViT-B-16-quickgelu"
"""What a model that is not listed is taken for: BiomedCLIP's image tower is of that size."""


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What PG-SAM trains besides SAM's encoder and decoder."""

    clip: Clip
    clip_training: str
    """"lora", "full" or "frozen"."""


PATCH = 16
WINDOW = 14
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
with vit_tiny (0.03 kept)."""

HALF_BYTES = 2
FULL_BYTES = 4
TRAINED_BYTES = 16
"""Per trained parameter: value, gradient, AdamW's two moments."""

DECODER_VALUES_PER_TOKEN = 6 * 16 * 64
"""Kept behind a frozen encoder: AutoSAM's head has 6 maps of 64 channels at 4 times the grid's side; SAM's decoder,
of fewer channels there, has its attention besides."""

LOGIT_COPIES = 6
"""Full-size maps kept per class: logits, log-softmax, softmax, one-hot, two gradients."""

GUIDE_CHANNELS = 32
GUIDE_COPIES, CLASS_COPIES = 26, 1
"""Stacks of 32 channels at a quarter of the input that PG-SAM keeps beyond SAMed: for all classes together, and for
each class (at 224 pixels 26 and 0.6 were counted)."""


SECOND_STAGE_PARAMETERS_M = 7
SECOND_STAGE_VALUES = 46
"""Kept per pixel of the input by H-SAM's pixel decoder, which ends at full size: a CPU step in float32 at 224 took
0.050 GB per image with vit_tiny where SAMed took 0.035."""


def image_gb(
    backbone: str,
    *,
    image_size: int,
    num_classes: int,
    mixed_precision: bool,
    guidance: Guidance | None = None,
    encoder_training: str = "full",
    second_stage: bool = False,
) -> float:
    """Memory of one image of a training batch in GB (activations of the encoders and of the output maps)."""
    vit = BACKBONES[backbone]
    side = image_size // PATCH
    windows = -(-side // WINDOW)
    tokens, padded = side**2, (windows * WINDOW) ** 2
    local_blocks = vit.depth - vit.global_blocks
    number = HALF_BYTES if mixed_precision else FULL_BYTES
    token_values = vit.width * WORDS_PER_TOKEN * (vit.global_blocks * tokens + local_blocks * padded)
    bias_values = 2 * vit.heads * (vit.global_blocks * tokens**2 + local_blocks * windows**2 * WINDOW**4)
    if encoder_training == "frozen":
        token_values, bias_values = _one_block(vit, tokens=max(tokens, padded)), 2 * vit.heads * tokens**2
    token_values += vit.stem_values * image_size**2
    if second_stage:
        token_values += SECOND_STAGE_VALUES * image_size**2
    if guidance is not None:
        clip, side = guidance.clip, image_size // 4
        token_values += clip.image_width * WORDS_PER_TOKEN * clip.image_depth * clip.image_tokens
        token_values += (GUIDE_COPIES + CLASS_COPIES * (num_classes + 1)) * GUIDE_CHANNELS * side**2
    map_bytes = LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * image_size**2
    return TEMPORARIES * (number * (token_values + bias_values) + map_bytes) / 1e9


def _one_block(vit: Backbone, *, tokens: int) -> int:
    """A frozen encoder keeps nothing: its blocks pass through the same memory one after another. Behind it the head or
    decoder keeps its maps, at most 4 times finer than the tokens."""
    return vit.width * WORDS_PER_TOKEN * tokens + DECODER_VALUES_PER_TOKEN * tokens


def fixed_gb(
    backbone: str,
    *,
    encoder_training: str,
    num_classes: int = 0,
    guidance: Guidance | None = None,
    second_stage: bool = False,
) -> float:
    """Memory that doesn't grow with the batch: parameters, gradients, optimiser states, context, and the texts,
    which are encoded once for all images; in GB."""
    megabytes = BACKBONES[backbone].parameters_m * _bytes_per_weight(encoder_training)
    megabytes += (DECODER_PARAMETERS_M + SECOND_STAGE_PARAMETERS_M * second_stage) * TRAINED_BYTES
    if guidance is not None:
        clip = guidance.clip
        words = clip.text_width * WORDS_PER_TOKEN * clip.text_depth * clip.text_tokens * (num_classes + 1)
        megabytes += clip.parameters_m * _bytes_per_weight(guidance.clip_training) + words * FULL_BYTES / 1e6
    return CONTEXT_GB + megabytes / 1e3


def _bytes_per_weight(training: str) -> int:
    return TRAINED_BYTES if training == "full" else FULL_BYTES


def largest_batch(
    backbone: str,
    *,
    image_size: int,
    num_classes: int,
    memory_gb: float,
    encoder_training: str,
    mixed_precision: bool,
    guidance: Guidance | None = None,
    second_stage: bool = False,
) -> int:
    """The largest batch that fits into `memory_gb`; 0 where not even one image does."""
    free = USABLE_SHARE * memory_gb - fixed_gb(
        backbone,
        encoder_training=encoder_training,
        num_classes=num_classes,
        guidance=guidance,
        second_stage=second_stage,
    )
    one = image_gb(
        backbone,
        image_size=image_size,
        num_classes=num_classes,
        mixed_precision=mixed_precision,
        guidance=guidance,
        encoder_training=encoder_training,
        second_stage=second_stage,
    )
    return max(0, int(free / one))
