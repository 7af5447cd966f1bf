"""Med-SA's own decisions: slices that see each other, adapters, and the prompts it trains with."""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pgsam_monai.base.weights import KNOWN_WEIGHTS, is_only_a_start
from preprocess.networks.starts import STARTS
from preprocess.rules import sam, slices, training
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import Encoder
from preprocess.rules.evidence import Evidence
from preprocess.rules.geometry import in_oriented_order
from preprocess.rules.kind import FACTOR, SHARE, TRUTH, Kind, choice, takes, whole
from preprocess.rules.memory import Beside
from preprocess.rules.starts import told_of_start, trains_everything
from preprocess.splits.few_shot import FewShot

STACK_DEPTH = 4
RANK, SCALE = 64, 0.05
LEARNING_RATE = 0.001
TRIAL = "Hippocampus from LiteMedSAM's weights, 13 steps of 8 slices, one seed"
CPU_REASON = (
    f"On a CPU a step affords few slices, and those of one stack are alike: in a short trial ({TRIAL}) single slices "
    "had brought the loss to 0.516, stacks of 4 to 0.534."
)
PROMPT_KINDS = ("point", "points", "box")
SOME_PROMPTS = Kind(
    what='a list of some of "point", "points" and "box"',
    fits=lambda value: isinstance(value, list) and bool(value) and set(map(str, value)) <= set(PROMPT_KINDS),
)
PROMPTED_CLASSES, FURTHER_CLICKS, PROMPTED_SHARE = 4, 4, 0.5

PROMPT_VALUES_PER_TOKEN = 11_500
DEPTH_WORDS_PER_TOKEN = 9
"""Kept for each prompt that is decoded; and per token, block and unit of width by attention among slices. CPU steps in
float32 at 224: with vit_tiny 0.052 GB per image for one prompt and 0.098 for four where SAMed took 0.038 and 0.041;
with ViT-B and four prompts 0.24 GB, and 0.35 with neighbours, where SAMed took 0.26 (its low-rank updates keep more
than adapters)."""


@takes(whole(1))
def choose_stack_depth(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Neighbouring slices that see each other (SD-Trans, Section 3.3); 1 for every slice on its own."""
    if decided["dimension"] == "2d":
        reason = (
            "Every slice is seen on its own: the decision `dimension` says why neighbours would tell little."
        )
        return Decision(value=1, reason=reason)
    if evidence.few_shot is not None and FewShot.parse(evidence.few_shot).level == "slice":
        reason = "Single slices are chosen for training; their neighbours' labels may not help."
        return Decision(value=1, reason=reason)
    if decided["target"] == "cpu":
        return Decision(value=1, reason=CPU_REASON)
    slices = in_oriented_order(evidence.median_shape, decided["slice_axis"])[2]
    spacing = in_oriented_order(evidence.median_spacing, decided["slice_axis"])
    reason = (
        f"Slices lie {spacing[2]:.3g} mm apart, {spacing[2] / max(spacing[:2]):.1f} pixels: neighbours show the same "
        f"structures. The paper states no number; {STACK_DEPTH} show both sides of a slice, and more would leave fewer "
        "cases in a training step."
    )
    return Decision(value=min(STACK_DEPTH, int(slices)), reason=reason)


@takes(choice("adapters", "full", "frozen"))
def choose_encoder_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "adapters" with pretrained weights, else "full"."""
    if decided["weights"] is None:
        reason = "Without pretrained weights every encoder weight has to be learnt, beside the adapters."
        return Decision(value="full", reason=reason)
    if is_only_a_start(decided["weights"]):
        return Decision(value="full", reason=f"{told_of_start(decided)} So are the adapters.")
    reason = "The paper's: SAM stays as it is, encoder and decoder; adapters are learnt."
    return Decision(value="adapters", reason=reason)


def choose_rank(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Middle width of the adapters."""
    return Decision(value=RANK, reason="The paper's best of 1, 16, 32, 64 and 256 (Table 7a).")


@takes(FACTOR)
def choose_scale(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Factor of the adapters beside an MLP."""
    return Decision(
        value=SCALE,
        reason="The paper's best (Table 7c); its released code has 0.5, and that was not searched.",
    )


@takes(choice("hyper", "add", "concat", "none"))
def choose_hyper_prompt(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """What the decoder's first adapter makes of the prompt: "hyper", "add", "concat" or "none"."""
    return Decision(
        value="hyper", reason="Weights made from the prompt, the paper's HyP-Adpt, its best (Table 5)."
    )


@takes(choice("add", "concat", "cross", "gated", "none"))
def choose_depth_fusion(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How what a slice sees in itself and in its neighbours is joined: "add", "concat", "cross", "gated", "none"."""
    used = " Not used: every slice is on its own." if decided["stack_depth"] == 1 else ""
    if decided["encoder_training"] == "full" and not is_only_a_start(decided["weights"]):
        reason = "Added, as the paper adopts; cross-attention gained it 0.5 % of Dice for 28.3 M weights (Table 8)."
        return Decision(value="add", reason=reason + used)
    reason = (
        "Added as in the paper, but times learnt factors that start at 0: the plain sum spoils pretrained features "
        f"before anything is learnt, and learnt more slowly in a short trial ({TRIAL}: loss 0.576 against 0.534)."
    )
    return Decision(value="gated", reason=reason + used)


def choose_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Stacks per training step."""
    alone, depth = sam.choose_batch_size(evidence, decided, keeps_answers), decided["stack_depth"]
    if depth == 1:
        return alone
    value = max(1, alone.value // depth)
    return replace(
        alone,
        value=value,
        reason=f"{alone.reason} An image is a slice: in stacks of {depth} these are {value}.",
    )


def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Slices per forward pass without gradients, those of all stacks together."""
    return slices.choose_inference_batch_size(evidence, _counting_slices(decided))


def choose_iterations_per_epoch(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Optimiser steps per epoch: one pass over the training slices, within the budget."""
    return training.choose_iterations_per_epoch(evidence, _counting_slices(decided))


def choose_learning_rate(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Peak learning rate of AdamW."""
    if trains_everything(decided):
        return training.choose_learning_rate(evidence, decided)
    reason = (
        f"{LEARNING_RATE}, not searched: near SAM's own 0.0008, to whose settings the paper refers. The released "
        "code's 0.0001 is for 100 epochs of large data sets."
    )
    return Decision(value=LEARNING_RATE, reason=reason)


@takes(SOME_PROMPTS)
def choose_prompt_kinds(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """First prompts that are simulated while training, one of them drawn for each structure."""
    reason = "The paper trains with clicks and boxes and tests with 1 point, 3 points and boxes; it states no shares."
    return Decision(value=list(PROMPT_KINDS), reason=reason)


@takes(TRUTH)
def choose_prompt_encoder_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether SAM's prompt encoder is trained beside the adapters."""
    weights = KNOWN_WEIGHTS.get(decided["weights"])
    if decided["encoder_training"] == "adapters" and weights is not None and weights.prompts:
        reason = (
            f"{weights.title} {weights.prompts}: what clicks or masks mean to its decoder has to be learnt, with 6220 "
            "weights."
        )
        return Decision(value=True, reason=reason)
    if is_only_a_start(decided["weights"]) and decided["encoder_training"] == "full":
        return Decision(
            value=False, reason="Not used: all of SAM is trained on, its prompt encoder included."
        )
    return Decision(
        value=False, reason="The paper's: only adapters are learnt (all is, from random weights)."
    )


@takes(whole(1))
def choose_prompted_classes(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Structures asked about in one slice of a training step, at most."""
    return Decision(
        value=PROMPTED_CLASSES,
        reason="Each is decoded by itself; a few of those that a slice holds, drawn anew, bound time and memory.",
    )


@takes(whole(0))
def choose_further_clicks(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Clicks into the answer's errors that may follow the first prompt."""
    return Decision(
        value=FURTHER_CLICKS,
        reason="The paper says «a few» after the first; their number is drawn, 0 to this. With 4 in place of 2, and "
        "the prompt encoder trained, Dice after 5 clicks was 0.764 instead of 0.709 in one trial (docs/results.md).",
    )


@takes(SHARE)
def choose_prompted_share(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of the loss that answers to prompts have; the rest is for segmenting everything without one."""
    return Decision(
        value=PROMPTED_SHARE, reason="Both modes of the one network count alike; the paper states no shares."
    )


def _counting_slices(decided: Mapping[str, Any]) -> Mapping[str, Any]:
    """`decided` with a batch size that counts slices."""
    return ChainMap({"batch_size": decided["batch_size"] * decided["stack_depth"]}, decided)


def keeps_answers(decided: Mapping[str, Any], encoder: Encoder) -> Beside:
    """Every class asked about in an image, decoded by itself, and attention among slices."""
    size = decided["image_size"]
    prompts = min(decided["prompted_classes"], len(decided["labels"]) - 1)
    values = prompts * PROMPT_VALUES_PER_TOKEN * (size // encoder.stride) ** 2
    if decided["stack_depth"] > 1:
        words = sum(some.width * some.depth * (size // some.stride) ** 2 for some in encoder.blocks)
        values += DEPTH_WORDS_PER_TOKEN * words
    return Beside(values=values)


# Stack and prompts stand first: the memory rules ask for them.
RULES = (
    {"stack_depth": choose_stack_depth, "prompted_classes": choose_prompted_classes}
    | {
        name: rule
        for name, rule in sam.sam_rules(keeps_answers, starts=STARTS["medsa"]).items()
        if name != "sampling"
    }
    | {
        "encoder_training": choose_encoder_training,
        "rank": choose_rank,
        "batch_size": choose_batch_size,
        "iterations_per_epoch": choose_iterations_per_epoch,
        "learning_rate": choose_learning_rate,
        "inference_batch_size": choose_inference_batch_size,
        "scale": choose_scale,
        "hyper_prompt": choose_hyper_prompt,
        "depth_fusion": choose_depth_fusion,
        "prompt_kinds": choose_prompt_kinds,
        "prompt_encoder_training": choose_prompt_encoder_training,
        "further_clicks": choose_further_clicks,
        "prompted_share": choose_prompted_share,
    }
)
