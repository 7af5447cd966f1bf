"""The networks that can be planned, and the decisions of each, in the order in which they are applied."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks import baselines
from preprocess.networks.dynunet_3d import rules as dynunet_3d
from preprocess.networks.hsam import rules as hsam
from preprocess.networks.medsa import rules as medsa
from preprocess.networks.pgsam import clip
from preprocess.networks.refsam3d import rules as refsam3d
from preprocess.rules import Rule, network, training

SAMED_RULES: dict[str, Rule] = {
    "image_size": network.choose_image_size,
    "fit": network.choose_fit,
    "backbone": network.choose_backbone,
    "weights": network.choose_weights,
    "encoder_training": network.choose_encoder_training,
    "rank": network.choose_rank,
    "pixel_mean": network.choose_pixel_mean,
    "pixel_std": network.choose_pixel_std,
    "batch_size": network.choose_batch_size,
    "iterations_per_epoch": training.choose_iterations_per_epoch,
    "epochs": training.choose_epochs,
    "learning_rate": training.choose_learning_rate,
    "weight_decay": training.choose_weight_decay,
    "warmup_iterations": training.choose_warmup_iterations,
    "poly_power": training.choose_poly_power,
    "schedule_epochs": training.choose_schedule_epochs,
    "val_interval": training.choose_val_interval,
    "ce_weight": training.choose_ce_weight,
    "dice_weight": training.choose_dice_weight,
    "num_workers": training.choose_num_workers,
    "foreground_share": training.choose_foreground_share,
    "augmentation": training.choose_augmentation,
    "model_selection": training.choose_model_selection,
    "protocol": training.choose_protocol,
    "inference_batch_size": network.choose_inference_batch_size,
}

CLIP_RULES: dict[str, Rule] = {
    "clip_model": clip.choose_clip_model,
    "clip_weights": clip.choose_clip_weights,
    "clip_training": clip.choose_clip_training,
    "clip_towers": clip.choose_clip_towers,
    "refinement_steps": clip.choose_refinement_steps,
}

# CLIP stands before the backbone, whose choice and batch depend on the memory that CLIP leaves.
_INPUT = ("image_size", "fit")
PGSAM_RULES: dict[str, Rule] = {name: SAMED_RULES[name] for name in _INPUT} | CLIP_RULES | SAMED_RULES

# A rule of the same name takes the place of SAMed's. The noise stands first: it tells the memory rules of the second
# decoder.
HSAM_RULES: dict[str, Rule] = (
    {"noise_std": hsam.choose_noise_std}
    | SAMED_RULES
    | {
        "ce_weight": hsam.choose_ce_weight,
        "dice_weight": hsam.choose_dice_weight,
        "stage_schedule": hsam.choose_stage_schedule,
        "stage_epochs": hsam.choose_stage_epochs,
        "ensemble": hsam.choose_ensemble,
    }
)

# Stack and prompts stand first: the memory rules ask for them.
MEDSA_RULES: dict[str, Rule] = (
    {"stack_depth": medsa.choose_stack_depth, "prompted_classes": medsa.choose_prompted_classes}
    | SAMED_RULES
    | {
        "encoder_training": medsa.choose_encoder_training,
        "rank": medsa.choose_rank,
        "batch_size": medsa.choose_batch_size,
        "iterations_per_epoch": medsa.choose_iterations_per_epoch,
        "learning_rate": medsa.choose_learning_rate,
        "inference_batch_size": medsa.choose_inference_batch_size,
        "scale": medsa.choose_scale,
        "hyper_prompt": medsa.choose_hyper_prompt,
        "depth_fusion": medsa.choose_depth_fusion,
        "prompt_kinds": medsa.choose_prompt_kinds,
        "prompt_encoder_training": medsa.choose_prompt_encoder_training,
        "further_clicks": medsa.choose_further_clicks,
        "prompted_share": medsa.choose_prompted_share,
    }
)

# The patch shrinks and the tokens get coarser as memory asks; what is decided before them tells the memory rules.
REFSAM3D_RULES: dict[str, Rule] = {
    "clip_model": refsam3d.choose_clip_model,
    "clip_weights": clip.choose_clip_weights,
    "clip_training": refsam3d.choose_clip_training,
    "backbone": refsam3d.choose_backbone,
    "weights": network.choose_weights,
    "encoder_training": refsam3d.choose_encoder_training,
    "pixel_mean": network.choose_pixel_mean,
    "pixel_std": network.choose_pixel_std,
    "patch": refsam3d.choose_patch,
    "token_size": refsam3d.choose_token_size,
    "window": refsam3d.choose_window,
    "checkpointing": refsam3d.choose_checkpointing,
    "batch_size": refsam3d.choose_batch_size,
    "iterations_per_epoch": refsam3d.choose_iterations_per_epoch,
    "epochs": refsam3d.choose_epochs,
    "learning_rate": refsam3d.choose_learning_rate,
    "weight_decay": refsam3d.choose_weight_decay,
    "warmup_iterations": refsam3d.choose_warmup_iterations,
    "poly_power": refsam3d.choose_poly_power,
    "schedule_epochs": training.choose_schedule_epochs,
    "val_interval": training.choose_val_interval,
    "ce_weight": refsam3d.choose_loss_weight,
    "dice_weight": refsam3d.choose_loss_weight,
    "num_workers": training.choose_num_workers,
    "foreground_share": refsam3d.choose_foreground_share,
    "augmentation": training.choose_augmentation,
    "model_selection": training.choose_model_selection,
    "protocol": training.choose_protocol,
    "inference_batch_size": refsam3d.choose_inference_batch_size,
    "overlap": refsam3d.choose_overlap,
    "referring_share": refsam3d.choose_referring_share,
}

NETWORK_RULES: dict[str, dict[str, Rule]] = {
    "samed": SAMED_RULES,
    "pgsam": PGSAM_RULES,
    "hsam": HSAM_RULES,
    "medsa": MEDSA_RULES,
    "refsam3d": REFSAM3D_RULES,
    **baselines.baseline_rules(SAMED_RULES),
    "dynunet_3d": dynunet_3d.DYNUNET_3D_RULES,
}
AUTO = "auto"
"""The wish for the networks that suit the data set."""


def auto_networks(shared: Mapping[str, Any]) -> tuple[str, ...]:
    """SAMed, and RefSAM3D where the shared decisions find that a 3-D network suits the data."""
    return ("samed", "refsam3d") if shared["dimension"] == "3d" else ("samed",)
