"""RefSAM3D's own decisions: the sub-volume it trains on, its tokens, and what memory makes of both."""

from collections.abc import Mapping, Sequence
from math import log2, prod
from typing import Any

from pgsam_monai.base.backbones import VOLUME_BACKBONES
from preprocess.networks.refsam3d.memory import (
    DEPTH_TOKEN_SIZES,
    STAGES,
    TOKEN_SIZES,
    WIDTHS,
    WINDOW,
    largest_batch,
    step_gb,
)
from preprocess.rules import clip, patches, sam, training
from preprocess.rules.clip import CPU_CLIP, GPU_CLIP
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import PATCH
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import SHARE, TRUTH, Kind, choice, is_whole, takes, whole
from preprocess.rules.patches import FINE_STEP, by, filled, shorten, wanted_patch

CPU_TOKEN = 8
BATCHES = {"cpu": 2, "gpu": 1}
"""Patches per step for which checkpointing is decided; the paper has 1."""

MOST_ON_GPU = 2
MOST_TOKENS = 32**3
"""Of a patch: as many as 3DSAM-adapter's. Memory may hold more, but a step takes as long as it has tokens."""

LEARNING_RATE, SCRATCH_LEARNING_RATE, WEIGHT_DECAY = 1e-4, 1e-3, 1e-5
WARMUP, POLY_POWER = 100, 1.0
REFERRING_SHARE = 0.25
ASKING_STARTS = 0.5
SUPERVISED_SCALES = 3
MASK_STRIDE = {"cpu": 2, "gpu": 1}
DECODER_WIDTHS = {"cpu": [64, 64, 64, 32], "gpu": list(WIDTHS)}


def _is_token_size(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not all(map(is_whole, value)):
        return False
    rows, columns, slices = value
    return rows == columns and rows in TOKEN_SIZES and slices in DEPTH_TOKEN_SIZES


TOKEN_SIZE = Kind(
    what="voxels per token [p, p, d], p one of 4, 8, 16 and d one of 1, 2, 4, 8, 16", fits=_is_token_size
)

STRIDE = choice(1, 2, 4)

FOUR_WIDTHS = Kind(
    what="four multiples of 8, of which the first steps have the coarsest maps",
    fits=lambda value: isinstance(value, list) and len(value) == STAGES and all(map(whole(8, 8).fits, value)),
)

SCALES = Kind(what="a whole number from 1 to 4", fits=lambda value: is_whole(value) and 1 <= value <= STAGES)


@takes(clip.TEXT_ENCODER)
def choose_text_encoder(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """What reads texts and requests: CLIP's text tower (None), or a frozen sentence encoder."""
    reason = (
        "The paper's: CLIP reads the texts. minilm, a frozen encoder of sentences (the extra 'sentences'), knows words "
        "that no label names; what it is worth here was not measured."
    )
    return Decision(value=None, reason=reason)


def choose_clip_model(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """An open_clip model, whose text tower alone is used, or `clip_tiny`."""
    if decided["target"] == "cpu":
        reason = "A small CLIP that learns with the network: it will know the words of the training texts, no others."
        return Decision(value=CPU_CLIP, reason=reason)
    return Decision(
        value=GPU_CLIP,
        reason="The paper names CLIP without its size; ViT-B/32 is OpenAI's smallest ViT.",
    )


def choose_clip_weights(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """As `clip.choose_clip_weights`; none where CLIP reads nothing."""
    if decided["text_encoder"] is not None:
        return Decision(value=None, reason=_without_clip(decided))
    return clip.choose_clip_weights(evidence, decided)


def choose_clip_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "frozen" with published weights, else "full"."""
    if decided["text_encoder"] is not None:
        return Decision(value="frozen", reason=_without_clip(decided))
    if decided["clip_weights"] is None:
        return Decision(value="full", reason="Without published weights the text tower has to be learnt.")
    reason = (
        "The paper doesn't say whether CLIP is trained. Frozen, it keeps what it knows of words that no label names, "
        "which a request in free text needs."
    )
    return Decision(value="frozen", reason=reason)


@takes(TRUTH)
def choose_whitened_texts(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether what tells the classes' texts apart counts alike in every direction."""
    if decided["clip_training"] == "full":
        reason = "A text tower that learns with the network can move its texts apart by itself."
        return Decision(value=False, reason=reason)
    reason = (
        "A frozen encoder puts left and right side by side (MiniLM the kidneys' texts: cosine 0.96), although no "
        "mask may be the same; whitened, they are as far apart as any others. The paper doesn't."
    )
    return Decision(value=True, reason=reason)


@takes(choice(*VOLUME_BACKBONES))
def choose_backbone(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """`vit_mini` on CPUs, ViT-B on GPUs."""
    if decided["target"] == "cpu":
        reason = "SAM's ViT-B is slow on a CPU, on volumes even more; the small encoder was made for that."
        return Decision(value="vit_mini", reason=reason)
    return Decision(
        value="vit_b", reason="The paper's, for all experiments; memory rather goes into finer tokens."
    )


@takes(choice("adapters", "full", "frozen"))
def choose_encoder_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "adapters" with pretrained weights, else "full"."""
    if decided["weights"] is None:
        reason = "Without pretrained weights every encoder weight has to be learnt, beside the adapters."
        return Decision(value="full", reason=reason)
    reason = (
        "The paper's: SAM's attention, MLPs and patch embedding stay frozen; adapters, norms, necks and what concerns "
        "depth are learnt."
    )
    return Decision(value="adapters", reason=reason)


@takes(TRUTH)
def choose_fine_features(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether the decoder gets convolutional features of the volume itself, beside those of tokens."""
    reason = (
        "A token holds no edge. With a pyramid of convolutions of the volume, and masks at 3 scales, Hippocampus came "
        "to Dice 0.827 in 240 steps of 10 cases, without either to 0.649 (two seeds). The paper has none."
    )
    return Decision(value=True, reason=reason)


@takes(SCALES)
def choose_supervised_scales(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """At how many resolutions, each half of the one before, training compares masks with labels."""
    reason = (
        "Masks at a half and a quarter of the size count in the loss, too, as in nnU-Net; measured together with the "
        "decision `fine_features`. The paper names none."
    )
    return Decision(value=SUPERVISED_SCALES, reason=reason)


@takes(STRIDE)
def choose_mask_stride(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Voxels along each axis of the cells whose features a mask's voxels are made of, each by weights of its own."""
    value = MASK_STRIDE[decided["target"]]
    if value == 1:
        return Decision(value=value, reason="The paper's: every voxel has features of its own.")
    reason = (
        "On a CPU most of the time would go into maps as fine as the volume; maps of half its sides leave it for more "
        "steps, as without the finest stage of a U-Net."
    )
    return Decision(value=value, reason=reason)


@takes(FOUR_WIDTHS)
def choose_decoder_widths(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Channels after each of the decoder's four steps."""
    value = DECODER_WIDTHS[decided["target"]]
    if value == list(WIDTHS):
        reason = "SAM's upscaling has 64 and 32, and half as many follow; the paper states none."
    else:
        reason = "As coarser maps leave time for: the finest has as many as a U-Net's, which the paper doesn't state."
    return Decision(value=value, reason=reason)


@takes(TRUTH)
def choose_direct_masks(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether a mask's weights also come straight from its text, not from SAM's network of queries alone."""
    reason = (
        "What a text asks for is the same in every image, and SAM's network of queries learns slowly: eight organs of "
        "Synapse came to Dice 0.55 in 400 steps with it and to 0.20 without. The paper doesn't say how masks are made."
    )
    return Decision(value=True, reason=reason)


@takes(patches.in_multiples(FINE_STEP))
def choose_patch(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Sub-volume of a training step and of a window in voxels (rows, columns, slices), multiples of 8, and of 16 where
    tokens may be as long."""
    planned = wanted_patch(decided)
    wanted = filled(planned, evidence, decided) if _coarsest(decided) <= FINE_STEP else planned
    patch = shorten(wanted, lambda patch: _fits(decided, patch, _coarsest(decided)))
    if patch == planned:
        return Decision(value=patch, reason="The 3-D patch that the decision `patch_3d` gives.")
    if patch == wanted:
        reason = (
            f"What a median case fills of the {by(planned)} voxels that the decision `patch_3d` gives: the rest would "
            "be zeros."
        )
        return Decision(value=patch, reason=reason)
    reason = (
        f"{by(wanted)} voxels as in the decision `patch_3d` don't fit into {decided['memory_gb']:g} GB even with "
        f"tokens of {_coarsest(decided)} and checkpointing: shortened along the longest axes, {PATCH} voxels at a time."
    )
    if not _fits(decided, patch, _coarsest(decided)):
        reason += " Training may run out of memory even so."
    return Decision(value=patch, reason=reason)


@takes(TOKEN_SIZE)
def choose_token_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Voxels per token [p, p, p_d]: in plane 4, 8 or 16; in depth the power of two that makes a token most nearly a
    cube in mm, at most p."""
    patch = decided["patch"]
    fitting = [p for p in _token_sizes(decided) if not any(side % p for side in patch)] or [min(TOKEN_SIZES)]
    finest = next((p for p in fitting if _affords(decided, patch, p)), fitting[-1])
    value, spacing = _token(decided, finest), decided["spacing"]
    grid = _grid(patch, value)
    if decided["target"] == "cpu":
        said = f"{finest} pixels, which a CPU can afford: finer ones take most of its time"
    else:
        sizes = ", ".join(map(str, TOKEN_SIZES))
        said = (
            f"{finest} pixels, the finest of {sizes} that gives at most {MOST_TOKENS} tokens and whose step "
            f"{decided['memory_gb']:g} GB hold"
        )
    reason = (
        f"In plane {said}; in depth {value[2]} slices, the power of two nearest to {finest} x {max(spacing[:2]):.3g} "
        f"mm / {spacing[2]:.3g} mm = {_depth(decided, finest):.2g}, at most {finest}. A patch has {by(grid)} = "
        f"{prod(grid)} tokens. The paper has 16 pixels."
    )
    return Decision(value=value, reason=reason)


@takes(whole(1))
def choose_window(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Side of the attention windows in tokens."""
    reason = "Windows as in the Swin Transformer, whose size the paper doesn't state; 8 x 8 x 8 tokens see each other."
    return Decision(value=WINDOW, reason=reason)


@takes(TRUTH)
def choose_checkpointing(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether the encoder's blocks are computed again in the backward pass, rather than kept."""
    batch = BATCHES[decided["target"]]
    fixed, one = step_gb(decided, checkpointing=False)
    fitting = largest_batch(decided, checkpointing=False)
    arithmetic = (
        f"Keeping every block, a step takes about {fixed:.1f} GB and {one:.2f} GB per patch, so "
        f"{decided['memory_gb']:g} GB hold {fitting}"
    )
    if fitting >= batch:
        return Decision(value=False, reason=f"{arithmetic}; {batch} is wanted.")
    reason = f"{arithmetic}, but {batch} is wanted: blocks are computed twice, for about a third more time."
    return Decision(value=True, reason=reason)


def choose_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Patches per training step."""
    cpu = decided["target"] == "cpu"
    wanted = BATCHES["cpu"] if cpu else MOST_ON_GPU
    (fixed, one), fitting = step_gb(decided), largest_batch(decided)
    value = max(1, min(wanted, fitting))
    reason = (
        f"Training {decided['backbone']} on {by(decided['patch'])} voxels takes about {fixed:.1f} GB and {one:.2f} GB "
        f"per patch, so {decided['memory_gb']:g} GB hold {fitting}"
    )
    if fitting < 1:
        reason += ": training may run out of memory even with one patch."
    else:
        reason += f"; at most {wanted} are taken, and 1 is the paper's batch."
    return Decision(value=value, reason=reason)


def choose_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs to train."""
    if decided["target"] == "cpu":
        return training.choose_epochs(evidence, decided)
    return Decision(value=patches.GPU_EPOCHS, reason="The paper's.")


def choose_learning_rate(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Peak learning rate of AdamW."""
    if decided["weights"] is None:
        reason = "AdamW's own default, for random weights; other rates were not searched."
        return Decision(value=SCRATCH_LEARNING_RATE, reason=reason)
    return Decision(value=LEARNING_RATE, reason="The paper's.")


def choose_weight_decay(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """AdamW's weight decay."""
    return Decision(value=WEIGHT_DECAY, reason="The paper's.")


def choose_warmup_iterations(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Steps of linear warm-up."""
    steps = decided["epochs"] * decided["iterations_per_epoch"]
    value = min(WARMUP, max(1, steps // 10))
    cut = "." if value == WARMUP else f", cut to a tenth of all {steps} steps."
    return Decision(value=value, reason=f"The paper states none; {WARMUP} steps are short{cut}")


def choose_poly_power(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Exponent of the polynomial decay after warm-up."""
    return Decision(value=POLY_POWER, reason="The paper's linear schedule.")


def choose_loss_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of cross-entropy, and of the Dice loss."""
    reason = "Dice and cross-entropy count alike, as in nnU-Net; the paper names no loss."
    return Decision(value=1.0, reason=reason)


def choose_foreground_share(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of patches that are drawn around a structure, chosen first; the rest lie anywhere."""
    reason = "The paper's ratio of foreground to background patches, 1:1."
    return Decision(value=training.FOREGROUND_SHARE, reason=reason)


@takes(SHARE)
def choose_referring_share(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of the training steps that ask for one structure by a text; the others segment all structures."""
    reason = (
        "A quarter of the steps ask for a single structure in words, so that the network can be asked; the paper has "
        "one text per data set and states no share."
    )
    return Decision(value=REFERRING_SHARE, reason=reason)


@takes(SHARE)
def choose_asking_starts(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of the training after which it begins to ask; before, all steps are about all structures."""
    reason = (
        "Two phases: asked from the first step on, a network from random weights learns to see later (Hippocampus, 400 "
        "steps: Dice 0.793 where a quarter of them ask, 0.826 where none does)."
    )
    return Decision(value=ASKING_STARTS, reason=reason)


def _without_clip(decided: Mapping[str, Any]) -> str:
    return f"The texts are read by {decided['text_encoder']}, not by CLIP."


def _token_sizes(decided: Mapping[str, Any]) -> Sequence[int]:
    """What may be planned in plane, fine tokens first."""
    if decided["target"] == "cpu":
        return (CPU_TOKEN,)
    return TOKEN_SIZES


def _coarsest(decided: Mapping[str, Any]) -> int:
    return max(_token_sizes(decided))


def _depth(decided: Mapping[str, Any], in_plane: int) -> float:
    """Slices that are as long in mm as a token's side in plane."""
    rows, columns, slices = decided["spacing"]
    return in_plane * max(rows, columns) / slices


def _token(decided: Mapping[str, Any], in_plane: int) -> list[int]:
    depth = 2 ** round(log2(_depth(decided, in_plane)))
    return [in_plane, in_plane, int(min(max(1, depth), in_plane))]


def _fits(decided: Mapping[str, Any], patch: Sequence[int], in_plane: int) -> bool:
    """Whether a step of one patch fits where nothing is kept that can be computed again."""
    return 1 <= largest_batch(decided, patch=patch, token_size=_token(decided, in_plane), checkpointing=True)


def _affords(decided: Mapping[str, Any], patch: Sequence[int], in_plane: int) -> bool:
    """Whether a step of one patch fits, and doesn't take too long."""
    return prod(_grid(patch, _token(decided, in_plane))) <= MOST_TOKENS and _fits(decided, patch, in_plane)


def _grid(patch: Sequence[int], token: Sequence[int]) -> list[int]:
    return [side // size for side, size in zip(patch, token, strict=True)]


# The patch shrinks and the tokens get coarser as memory asks; what is decided before them tells the memory rules.
RULES = {
    "text_encoder": choose_text_encoder,
    "clip_model": choose_clip_model,
    "clip_weights": choose_clip_weights,
    "clip_training": choose_clip_training,
    "whitened_texts": choose_whitened_texts,
    "backbone": choose_backbone,
    "weights": sam.choose_weights,
    "encoder_training": choose_encoder_training,
    "pixel_mean": sam.choose_pixel_mean,
    "pixel_std": sam.choose_pixel_std,
    "fine_features": choose_fine_features,
    "supervised_scales": choose_supervised_scales,
    "mask_stride": choose_mask_stride,
    "decoder_widths": choose_decoder_widths,
    "direct_masks": choose_direct_masks,
    "patch": choose_patch,
    "token_size": choose_token_size,
    "window": choose_window,
    "checkpointing": choose_checkpointing,
    "batch_size": choose_batch_size,
    **patches.TRAINING_RULES,
    "epochs": choose_epochs,
    "learning_rate": choose_learning_rate,
    "weight_decay": choose_weight_decay,
    "warmup_iterations": choose_warmup_iterations,
    "poly_power": choose_poly_power,
    "ce_weight": choose_loss_weight,
    "dice_weight": choose_loss_weight,
    "foreground_share": choose_foreground_share,
    **patches.INFERENCE_RULES,
    "referring_share": choose_referring_share,
    "asking_starts": choose_asking_starts,
}

LATER = {
    "text_encoder": None, "fine_features": False, "supervised_scales": 1, "mask_stride": 1,
    "decoder_widths": list(WIDTHS), "direct_masks": False, "whitened_texts": False,
    "asking_starts": 0,
}  # fmt: skip
