"""RefSAM3D's own decisions: the sub-volume it trains on, its tokens, and what memory makes of both."""

from collections.abc import Mapping, Sequence
from math import log2, prod
from typing import Any

from pgsam_monai.base.backbones import VOLUME_BACKBONES
from preprocess.networks.refsam3d import decoder, texts
from preprocess.networks.refsam3d.memory import (
    DEPTH_TOKEN_SIZES,
    TOKEN_SIZES,
    WIDTHS,
    WINDOW,
    largest_batch,
    step_gb,
)
from preprocess.rules import patches, sam, training
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import PATCH
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import TRUTH, Kind, choice, is_whole, takes, whole
from preprocess.rules.patches import FINE_STEP, by, filled, shorten, wanted_patch

CPU_TOKEN = 8
BATCHES = {"cpu": 2, "gpu": 1}
"""Patches per step for which checkpointing is decided; the paper has 1."""

MOST_ON_GPU = 2
MOST_TOKENS = 32**3
"""Of a patch: as many as 3DSAM-adapter's. Memory may hold more, but a step takes as long as it has tokens."""

LEARNING_RATE, SCRATCH_LEARNING_RATE, WEIGHT_DECAY = 1e-4, 1e-3, 1e-5
WARMUP, POLY_POWER = 100, 1.0


def _is_token_size(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not all(map(is_whole, value)):
        return False
    rows, columns, slices = value
    return rows == columns and rows in TOKEN_SIZES and slices in DEPTH_TOKEN_SIZES


TOKEN_SIZE = Kind(
    what="voxels per token [p, p, d], p one of 4, 8, 16 and d one of 1, 2, 4, 8, 16", fits=_is_token_size
)


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
        reason = (
            "AdamW's own default, for random weights; three times as much brought less (Hippocampus, 400 steps: Dice "
            "0.826 and 0.817)."
        )
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
    **texts.RULES,
    "backbone": choose_backbone,
    "weights": sam.choose_weights,
    "encoder_training": choose_encoder_training,
    "pixel_mean": sam.choose_pixel_mean,
    "pixel_std": sam.choose_pixel_std,
    **decoder.RULES,
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
    "foreground_share": patches.choose_foreground_share,
    **patches.INFERENCE_RULES,
    **texts.ASKING_RULES,
}

LATER = {
    "text_encoder": None, "fine_features": False, "supervised_scales": 1, "mask_stride": 1,
    "decoder_widths": list(WIDTHS), "direct_masks": False, "whitened_texts": False,
    "competing_requests": False, "asking_starts": 0,
}  # fmt: skip
