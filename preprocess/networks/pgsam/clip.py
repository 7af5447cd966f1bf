"""PG-SAM's own decisions: which CLIP reads texts and image, how it is trained, and how often masks are refined."""

from collections.abc import Mapping
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.memory import CLIPS

CPU_CLIP = "clip_tiny"
GPU_CLIP = "ViT-B-32-quickgelu"
OWN_WEIGHTS = "pretrained"
REFINEMENT_STEPS = 3


def choose_clip_model(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """An open_clip model, or `clip_tiny`."""
    if decided["target"] == "cpu":
        reason = (
            "A small CLIP that learns with the network; on a CPU a published one costs more than the encoder."
        )
        return Decision(value=CPU_CLIP, reason=reason)
    return Decision(
        value=GPU_CLIP, reason="PG-SAM's released code uses CLIP ViT-B/32, with OpenAI's QuickGELU."
    )


def choose_clip_weights(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Tag or file of CLIP's weights, "pretrained" for those of a folder or repository; None for random ones."""
    model = decided["clip_model"]
    if ":" in model:
        return Decision(value=OWN_WEIGHTS, reason="The weights that come with the folder or repository.")
    if model not in CLIPS:
        reason = f"Nothing is known here of {model}: give the tag or file of its weights as clip_weights."
        return Decision(value=None, reason=reason)
    weights = CLIPS[model].weights
    if weights is None:
        return Decision(
            value=None, reason=f"No weights were published for {model}; it starts from random numbers."
        )
    return Decision(value=weights, reason=f"OpenAI's published weights for {model}.")


def choose_clip_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "lora" with pretrained weights, else "full"."""
    if decided["clip_weights"] is None:
        return Decision(
            value="full", reason="Without pretrained weights every weight of CLIP has to be learnt."
        )
    return Decision(
        value="lora",
        reason="PG-SAM adapts CLIP by low-rank updates, of the same rank as the image encoder's.",
    )


def choose_clip_towers(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """The towers that are trained: "both", "text" or "image"."""
    reason = "The paper tunes CLIP and names no tower; its released code tunes the text tower only."
    return Decision(value="both", reason=reason)


def choose_refinement_steps(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Iterations T of the mask optimizer."""
    reason = "The paper iterates but states no T, its released code refines once; 3 leaves room to correct."
    return Decision(value=REFINEMENT_STEPS, reason=reason)
