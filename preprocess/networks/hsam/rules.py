"""H-SAM's own decisions: its class attention, where its second stage starts, how its stages share the loss."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.starts import STARTS
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import Encoder
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import choice, number, takes, whole
from preprocess.rules.memory import TRAINED_BYTES, Beside
from preprocess.rules.sam import sam_rules

CE_WEIGHT, DICE_WEIGHT = 0.1, 0.9
PUBLISHED_EPOCHS = 300
NOISE_STD = 0.35

SECOND_STAGE_PARAMETERS_M = 7
SECOND_STAGE_VALUES = 46
"""Kept per pixel of the input by H-SAM's pixel decoder, which ends at full size: a CPU step in float32 at 224 took
0.050 GB per image with vit_tiny where SAMed took 0.035."""
FIXED_GRID = 14
"""Side of the class attention's fixed grid, which the parameters above contain."""
CLASS_MLP = 2048
"""Hidden width of the class attention's MLP."""


def choose_ce_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of cross-entropy in each stage's loss."""
    return Decision(value=CE_WEIGHT, reason="H-SAM's released code; the paper states no weights (Eq. 4).")


def choose_dice_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of the Dice loss in each stage's loss."""
    return Decision(value=DICE_WEIGHT, reason="H-SAM's released code; the paper states no weights (Eq. 4).")


@takes(choice("paper", "released"))
def choose_stage_schedule(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How the loss's weight moves from the first to the second stage: "paper" or "released"."""
    reason = (
        "The paper's: the first stage starts with 0.8 of the loss and decays exponentially by 0.005 an epoch."
    )
    return Decision(value="paper", reason=reason)


@takes(whole(1))
def choose_stage_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs over which the published 300 epochs of that schedule are laid out."""
    epochs = decided["epochs"]
    reason = (
        f"The published {PUBLISHED_EPOCHS} epochs of it are laid out over the {epochs} of this training; else a "
        "short one would hardly train the second stage."
    )
    return Decision(value=epochs, reason=reason)


@takes(number(0))
def choose_noise_std(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Standard deviation of the class-balanced noise (Eq. 1) at the rarest class's positions."""
    reason = (
        "The released code's largest; the paper states none. A class's variance is inverse to its frequency."
    )
    return Decision(value=NOISE_STD, reason=reason)


@takes(choice("fixed", "native"))
def choose_class_attention_grid(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Positions of the class attention's maps: "fixed" at 14 x 14, or "native", the embedding's own."""
    reason = (
        f"{FIXED_GRID} x {FIXED_GRID}, the embedding's own at 224 pixels: one set of weights for every size. The "
        'paper\'s is "native", of 32 x 32 at 512 pixels and 7.4 million weights more.'
    )
    return Decision(value="fixed", reason=reason)


@takes(choice("sam", "rescaled", "random"))
def choose_second_stage_start(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Where the second stage starts: from "sam"'s decoder, that "rescaled" for Eq. 3, or "random" numbers."""
    if decided["weights"] is None:
        return Decision(
            value="sam", reason="Not used: without weights both stages start from random numbers."
        )
    reason = (
        "SAM's decoder, whose layers it has: from LiteMedSAM's weights it was 0.08 Dice above random numbers, the "
        "released code's, and 0.12 above the rescaled one (docs/results.md)."
    )
    return Decision(value="sam", reason=reason)


@takes(choice("mean", "second"))
def choose_ensemble(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """What evaluation takes: the "mean" of both stages' probabilities, or the "second" stage's."""
    reason = (
        "The second stage alone was better than the paper's mean of both wherever it was measured (docs/results.md): "
        "the first one's masks have a quarter of the size."
    )
    return Decision(value="second", reason=reason)


def keeps_second_decoder(decided: Mapping[str, Any], encoder: Encoder) -> Beside:
    """The second stage's pixel decoder, and its class attention, which grows with the fourth power of its grid."""
    native = decided["class_attention_grid"] == "native"
    grid = decided["image_size"] // encoder.stride if native else FIXED_GRID
    wider = (class_attention_parameters(grid) - class_attention_parameters(FIXED_GRID)) / 1e6
    return Beside(
        values=SECOND_STAGE_VALUES * decided["image_size"] ** 2,
        megabytes=(SECOND_STAGE_PARAMETERS_M + wider) * TRAINED_BYTES,
    )


def class_attention_parameters(grid: int) -> int:
    """Of a self-attention, an MLP and two norms over the positions of a grid; its linear layer has K + 2 more."""
    width = grid**2
    return 4 * (width**2 + width) + (2 * CLASS_MLP * width + CLASS_MLP + width) + 4 * width


RULES = (
    {"noise_std": choose_noise_std, "class_attention_grid": choose_class_attention_grid}
    | sam_rules(keeps_second_decoder, starts=STARTS["hsam"])
    | {
        "second_stage_start": choose_second_stage_start,
        "ce_weight": choose_ce_weight,
        "dice_weight": choose_dice_weight,
        "stage_schedule": choose_stage_schedule,
        "stage_epochs": choose_stage_epochs,
        "ensemble": choose_ensemble,
    }
)

LATER = {"class_attention_grid": "fixed", "second_stage_start": "sam"}
