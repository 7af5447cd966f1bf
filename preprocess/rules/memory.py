"""How much memory one training step takes, by arithmetic: so a batch size can be planned without torch."""

from dataclasses import dataclass

from preprocess.rules.encoders import BACKBONES, Backbone


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


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """What Med-SA keeps besides."""

    prompts: int
    """Classes asked about in an image, each decoded by itself."""

    sees_neighbours: bool
    """Whether every block has attention among slices."""


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

GUIDE_CHANNELS = 32
GUIDE_COPIES, CLASS_COPIES = 26, 1
"""Stacks of 32 channels at a quarter of the input that PG-SAM keeps beyond SAMed: for all classes together, and for
each class (at 224 pixels 26 and 0.6 were counted)."""


SECOND_STAGE_PARAMETERS_M = 7
SECOND_STAGE_VALUES = 46
"""Kept per pixel of the input by H-SAM's pixel decoder, which ends at full size: a CPU step in float32 at 224 took
0.050 GB per image with vit_tiny where SAMed took 0.035."""

PROMPT_VALUES_PER_TOKEN = 11_500
DEPTH_WORDS_PER_TOKEN = 9
"""Kept for each prompt that is decoded; and per token, block and unit of width by attention among slices. CPU steps in
float32 at 224: with vit_tiny 0.052 GB per image for one prompt and 0.098 for four where SAMed took 0.038 and 0.041;
with ViT-B and four prompts 0.24 GB, and 0.35 with neighbours, where SAMed took 0.26 (its low-rank updates keep more
than adapters)."""


def image_gb(
    backbone: str,
    *,
    image_size: int,
    num_classes: int,
    mixed_precision: bool,
    guidance: Guidance | None = None,
    encoder_training: str = "full",
    second_stage: bool = False,
    prompting: Prompting | None = None,
) -> float:
    """Memory of one image of a training batch in GB (activations of the encoders and of the output maps)."""
    vit = BACKBONES[backbone]
    cells = (image_size // vit.stride) ** 2
    number = HALF_BYTES if mixed_precision else FULL_BYTES
    if encoder_training == "frozen":
        token_values, score_values = _one_block(vit, image_size)
    else:
        token_values, score_values = _all_blocks(vit, image_size, trained=encoder_training == "full")
    token_values += vit.stem_values * image_size**2
    if second_stage:
        token_values += SECOND_STAGE_VALUES * image_size**2
    if prompting is not None:
        token_values += prompting.prompts * PROMPT_VALUES_PER_TOKEN * cells
        depth_words = sum(some.width * some.depth * (image_size // some.stride) ** 2 for some in vit.blocks)
        token_values += prompting.sees_neighbours * DEPTH_WORDS_PER_TOKEN * depth_words
    if guidance is not None:
        clip, side = guidance.clip, 4 * image_size // vit.stride
        token_values += clip.image_width * WORDS_PER_TOKEN * clip.image_depth * clip.image_tokens
        token_values += (GUIDE_COPIES + CLASS_COPIES * (num_classes + 1)) * GUIDE_CHANNELS * side**2
    map_bytes = LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * image_size**2
    return TEMPORARIES * (number * (token_values + score_values) + map_bytes) / 1e9


def _all_blocks(vit: Backbone, image_size: int, *, trained: bool) -> tuple[int, int]:
    """Values that a trained or adapted encoder keeps for the backward pass: its tokens, its attention matrices."""
    tokens = sum(
        some.width * WORDS_PER_TOKEN * some.depth * some.padded_tokens(image_size) for some in vit.blocks
    )
    if trained:
        tokens += vit.convolution_values * image_size**2
    keeps = vit.keeps_scores == "always" or (vit.keeps_scores == "trained" and trained)
    return tokens, 2 * keeps * sum(some.scores(image_size) for some in vit.blocks)


def _one_block(vit: Backbone, image_size: int) -> tuple[int, int]:
    """A frozen encoder keeps nothing: its blocks pass through the same memory one after another. Behind it the head or
    decoder keeps its maps, at most 4 times finer than the tokens."""
    width_tokens = max(some.width * some.padded_tokens(image_size) for some in vit.blocks)
    tokens = max(some.padded_tokens(image_size) for some in vit.blocks if some.stride == vit.stride)
    scores = max(some.scores(image_size) // some.depth for some in vit.blocks)
    return width_tokens * WORDS_PER_TOKEN + DECODER_VALUES_PER_TOKEN * tokens, 2 * scores


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
    prompting: Prompting | None = None,
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
        prompting=prompting,
    )
    return max(0, int(free / one))
