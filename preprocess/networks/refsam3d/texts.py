"""Who reads RefSAM3D's texts, how they are compared, and how often training asks by them."""

from collections.abc import Mapping
from typing import Any

from preprocess.rules import clip
from preprocess.rules.clip import CPU_CLIP, GPU_CLIP
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import SHARE, TRUTH, takes

REFERRING_SHARE = {True: 0.5, False: 0.25}
"""Where requests compete with classes, and where they take steps from them."""
ASKING_STARTS = 0.5


@takes(clip.TEXT_ENCODER)
def choose_text_encoder(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """What reads texts and requests: CLIP's text tower (None), or a frozen sentence encoder."""
    reason = (
        "The paper's: CLIP reads the texts. minilm, a frozen encoder of sentences (the extra 'sentences'), knows words "
        "that no label names; on a CPU a step took 0.46 s with it and 0.53 with a small CLIP that learns, for as much "
        "(Hippocampus, 400 steps, one seed: Dice 0.826 and 0.825), or more (Synapse, likewise: 0.533 and 0.485)."
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
    if decided["clip_training"] != "frozen":
        reason = "A text tower that learns with the network can move its texts apart by itself."
        return Decision(value=False, reason=reason)
    reason = (
        "A frozen encoder puts left and right side by side (MiniLM the kidneys' texts: cosine 0.96), although no "
        "mask may be the same; whitened, they are as far apart as any others. The paper doesn't."
    )
    return Decision(value=True, reason=reason)


@takes(TRUTH)
def choose_competing_requests(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether a request competes with all classes that it doesn't mean, or stands alone against the background."""
    reason = (
        "By itself, an answer has to know of every other structure that it isn't what was asked for, and a step that "
        "asks teaches about one structure; beside all classes it teaches both. The paper shows a request alone."
    )
    return Decision(value=True, reason=reason)


@takes(SHARE)
def choose_referring_share(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of the training steps that ask for one structure by a text; if it competes, they learn all others, too."""
    value = REFERRING_SHARE[decided["competing_requests"]]
    if not decided["competing_requests"]:
        reason = (
            "A quarter of the steps ask for a single structure in words, so that the network can be asked; the paper "
            "has one text per data set and states no share."
        )
        return Decision(value=value, reason=reason)
    reason = (
        "Half of the steps also ask for a single structure in words, so that the network can be asked; beside all "
        "classes that costs none of their Dice (Synapse, 400 steps, one seed: 0.578, and 0.574 without). The paper has "
        "one text per data set and states no share."
    )
    return Decision(value=value, reason=reason)


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


RULES = {
    "text_encoder": choose_text_encoder,
    "clip_model": choose_clip_model,
    "clip_weights": choose_clip_weights,
    "clip_training": choose_clip_training,
    "whitened_texts": choose_whitened_texts,
    "competing_requests": choose_competing_requests,
}

ASKING_RULES = {"referring_share": choose_referring_share, "asking_starts": choose_asking_starts}
