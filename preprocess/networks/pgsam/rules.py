"""PG-SAM's own decisions: who reads texts and image and how they meet, how CLIP is trained, how features are fused and
masks refined."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.starts import STARTS
from preprocess.rules import sam
from preprocess.rules.clip import (
    CLIPS,
    CPU_CLIP,
    GPU_CLIP,
    TEXT_ENCODER,
    UNKNOWN_CLIP,
    choose_clip_weights,
)
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import Encoder
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import TRUTH, choice, takes, whole, word
from preprocess.rules.memory import FULL_BYTES, WORDS_PER_TOKEN, Beside, bytes_per_weight
from preprocess.rules.slices import INPUT_RULES

REFINEMENT_STEPS = 3

GUIDE_CHANNELS = 32
GUIDE_COPIES, CLASS_COPIES = 26, 1
"""Stacks of 32 channels at a quarter of the input that PG-SAM keeps beyond SAMed: for all classes together, and for
each class (at 224 pixels 26 and 0.6 were counted)."""


@takes(
    word("clip_tiny, a model of open_clip such as ViT-B-32-quickgelu, hf-hub:org/name or local-dir:/folder")
)
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


@takes(choice("lora", "full", "frozen"))
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


@takes(choice("both", "text", "image"))
def choose_clip_towers(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """The towers that are trained: "both", "text" or "image"."""
    if decided["text_encoder"] is not None:
        return Decision(
            value="image", reason=f"The texts are read by {decided['text_encoder']}, not by CLIP."
        )
    if decided["image_prior"] == "none":
        return Decision(value="text", reason="CLIP looks at no image here.")
    reason = "The paper tunes CLIP and names no tower; its released code tunes the text tower only."
    return Decision(value="both", reason=reason)


@takes(TEXT_ENCODER)
def choose_text_encoder(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """What reads the texts: CLIP's text tower (None), or a frozen sentence encoder."""
    reason = (
        "The paper's: CLIP reads the texts. MiniLM without any CLIP did as well in a quarter less time "
        "(docs/results.md); it needs the extra 'sentences'."
    )
    return Decision(value=None, reason=reason)


@takes(choice("global", "patches", "none"))
def choose_image_prior(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """What CLIP's image tower tells of an image: "global", "patches" or "none"."""
    if decided["text_encoder"] is not None:
        return Decision(
            value="none", reason="CLIP's images have no part in the space of another model's texts."
        )
    reason = (
        "The paper's Eq. 1: how well the whole image fits each text. Where CLIP starts from random numbers its patches "
        "point to structures and don't help to outline them (docs/results.md)."
    )
    return Decision(value="global", reason=reason)


@takes(choice("learnt", "identity"))
def choose_text_match(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How SAM's features are compared with the texts: through a "learnt" map of these, or "identity"."""
    if decided["text_encoder"] is not None:
        reason = "Pretrained texts as they were written: so they point to their structures (docs/results.md)."
        return Decision(value="identity", reason=reason)
    reason = (
        "The paper's P is learnt. Without it CLIP from random numbers was 0.01 Dice lower (docs/results.md)."
    )
    return Decision(value="learnt", reason=reason)


@takes(TRUTH)
def choose_base_rates(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether the prior has a learnt base rate per class beside what texts say."""
    if decided["text_match"] == "identity":
        reason = (
            "Texts that stay as they were written would have to find the background too, most of an image: a base rate "
            "was worth 0.014 Dice (docs/results.md)."
        )
        return Decision(value=True, reason=reason)
    reason = (
        "The paper's Eq. 1 has none; beside a learnt map of the texts it cost 0.01 Dice (docs/results.md)."
    )
    return Decision(value=False, reason=reason)


@takes(choice("additive", "attention"))
def choose_fusion(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How the guide joins the features: "additive" (Eq. 5) or "attention" (Fig. 2(b))."""
    reason = (
        "The paper's Eq. 5; the cross-attention of its Fig. 2(b) was 0.01 Dice below, within the spread of three seeds "
        "(docs/results.md)."
    )
    return Decision(value="additive", reason=reason)


@takes(whole(1))
def choose_refinement_steps(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Iterations T of the mask optimizer."""
    reason = "The paper iterates but states no T, its released code refines once; 3 leaves room to correct."
    return Decision(value=REFINEMENT_STEPS, reason=reason)


def choose_rank(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Rank of the low-rank updates, of the image encoder and of CLIP."""
    if decided["clip_training"] == "lora":
        return Decision(value=sam.RANK, reason="SAMed's published rank.")
    return sam.choose_rank(evidence, decided)


def keeps_clip(decided: Mapping[str, Any], encoder: Encoder) -> Beside:
    """CLIP's towers, those that are there, the texts, encoded once for all images, and the maps that they guide."""
    model, classes = decided["clip_model"], len(decided["labels"])
    clip, side = CLIPS.get(model, CLIPS[UNKNOWN_CLIP]), 4 * decided["image_size"] // encoder.stride
    looks, reads = decided["image_prior"] != "none", decided["text_encoder"] is None
    values = looks * clip.image_width * WORDS_PER_TOKEN * clip.image_depth * clip.image_tokens
    values += (GUIDE_COPIES + CLASS_COPIES * classes) * GUIDE_CHANNELS * side**2
    words = reads * clip.text_width * WORDS_PER_TOKEN * clip.text_depth * clip.text_tokens * classes
    parameters_m = looks * clip.image_parameters_m + reads * (clip.parameters_m - clip.image_parameters_m)
    weights = parameters_m * bytes_per_weight(decided["clip_training"])
    said = (
        f" and CLIP {model}" + ("" if model in CLIPS else f" (taken for a {UNKNOWN_CLIP})")
        if looks or reads
        else ""
    )
    return Beside(values=values, megabytes=weights + words * FULL_BYTES / 1e6, said=said)


CLIP_RULES = {
    "clip_model": choose_clip_model,
    "clip_weights": choose_clip_weights,
    "clip_training": choose_clip_training,
    "text_encoder": choose_text_encoder,
    "image_prior": choose_image_prior,
    "clip_towers": choose_clip_towers,
    "text_match": choose_text_match,
    "base_rates": choose_base_rates,
    "fusion": choose_fusion,
    "refinement_steps": choose_refinement_steps,
}
# CLIP stands before the backbone, whose choice and batch depend on the memory that CLIP leaves.
RULES = INPUT_RULES | CLIP_RULES | sam.sam_rules(keeps_clip, starts=STARTS["pgsam"]) | {"rank": choose_rank}

LATER = {
    "text_encoder": None,
    "image_prior": "global",
    "text_match": "learnt",
    "fusion": "additive",
    "base_rates": False,
}
