"""The baselines' own decisions; what they share with SAMed, such as sampling, is SAMed's rule."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from preprocess.networks.baseline_memory import INFERENCE_SHARE, fixed_gb, footprint, image_gb, largest_batch
from preprocess.rules import network, training
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence

Rule = Callable[[Evidence, Mapping[str, Any]], Decision]

ONLY_WITH_SAM = ("backbone", "weights", "encoder_training", "rank", "pixel_mean", "pixel_std")
TITLES = {"dynunet": "DynUNet", "unet": "UNet", "swinunetr": "SwinUNETR", "unetr": "UNETR"}
SIZE_MULTIPLES = {"unet": 16, "swinunetr": 32, "unetr": 16}
LEAST_SIZES = {"unet": 32, "swinunetr": 64, "unetr": 32}

# nnU-Net's 2-D rule
MIN_FEATURE_MAP, MAX_STAGES = 4, 8
FIRST_FILTERS, MOST_FILTERS = 32, 512

HEAD_LEARNING_RATE = 0.001
LEARNING_RATES = {"dynunet": (0.003, 3), "unet": (0.003, 2), "swinunetr": (0.002, 3), "unetr": (0.001, 0)}
"""AdamW's peak rate from random weights, and how many rates it was the best of. Validation Dice (fold 0, one seed)
after 180 steps of 8 slices of 10 phantoms at 96 pixels: DynUNet 0.880 at 0.003, 0.865 at 0.001, 0.640 at 0.0003; UNet
0.745 at 0.003, 0.679 at 0.001; SwinUNETR 0.719 at 0.002, 0.612 at 0.001, 0.483 at 0.0005; UNETR 0.346 at 0.001, others
not finished. Each best one is the largest tried, so larger ones may be better still. The SAM networks' rates were not
searched in this trial: SAMed with vit_tiny had its planned 0.003 alone (0.798)."""

UNET_WEIGHT_DECAY = 0.01


def baseline_rules(samed: Mapping[str, Rule]) -> dict[str, dict[str, Rule]]:
    """Baseline -> its rules in order, out of SAMed's and its own."""
    without_sam = {name: rule for name, rule in samed.items() if name not in ONLY_WITH_SAM}
    head = ("image_size", "fit")
    made = {name: without_sam | _slice_rules(name) for name in TITLES}
    first = {name: made["dynunet"][name] for name in head} | {"topology": choose_topology}
    made["dynunet"] = first | made["dynunet"]
    frozen = {name: rule for name, rule in samed.items() if name != "rank"}
    frozen |= {"encoder_training": choose_frozen_encoder}
    made["autosam"] = frozen | {"learning_rate": choose_head_learning_rate}
    made["samdecoder"] = frozen
    return made


def _slice_rules(name: str) -> dict[str, Rule]:
    return {
        "image_size": choose_image_size,
        "batch_size": batch_size_of(name),
        "epochs": choose_epochs,
        "learning_rate": learning_rate_of(name),
        "weight_decay": choose_weight_decay,
        "poly_power": choose_poly_power,
        "ce_weight": choose_loss_weight,
        "dice_weight": choose_loss_weight,
        "inference_batch_size": inference_batch_size_of(name),
    }


def size_fault(name: str, values: Mapping[str, Any]) -> str | None:
    """A sentence where the network can't take the decided input size."""
    if name not in TITLES:
        return None
    size = values["image_size"]
    multiple = prod(values["topology"]["strides"]) if name == "dynunet" else SIZE_MULTIPLES[name]
    least = LEAST_SIZES.get(name, 2 * multiple)
    if size >= least and size % multiple == 0:
        return None
    near = max(least, round(size / multiple) * multiple)
    return (
        f"image_size {size}: {TITLES[name]} takes multiples of {multiple} from {least} on; "
        f"override image_size={near}, for all networks that are to be compared."
    )


def choose_image_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Input side in pixels: the SAM networks' own, whose slices are to be shared."""
    decision = network.choose_image_size(evidence, decided)
    return replace(
        decision, reason=f"The SAM networks' size, so that all see the same slices. {decision.reason}"
    )


def choose_topology(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Kernels, strides and channels of DynUNet's stages, the finest first: nnU-Net's 2-D rule."""
    sides = [decided["image_size"]]
    while sides[-1] >= 2 * MIN_FEATURE_MAP and sides[-1] % 2 == 0 and len(sides) < MAX_STAGES:
        sides.append(sides[-1] // 2)
    value = {
        "kernels": [3] * len(sides),
        "strides": [1] + [2] * (len(sides) - 1),
        "filters": [min(MOST_FILTERS, FIRST_FILTERS * 2**stage) for stage in range(len(sides))],
    }
    reason = (
        f"By nnU-Net's 2-D rule {sides[0]} pixels are halved {len(sides) - 1} times, to {sides[-1]}, as long as a side "
        f"is even, the map keeps {MIN_FEATURE_MAP} pixels and there are at most {MAX_STAGES} stages; channels double "
        f"from {FIRST_FILTERS} to {MOST_FILTERS} at most, kernels are 3 x 3."
    )
    return Decision(value=value, reason=reason)


def batch_size_of(name: str) -> Rule:
    """The rule for the slices per training step of a network without SAM."""

    def choose_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
        cpu, memory = decided["target"] == "cpu", decided["memory_gb"]
        wanted = network.CPU_BATCH if cpu else network.GPU_BATCH
        kept, one = footprint(name, decided), _image_gb(name, decided)
        fitting = largest_batch(kept, one, memory_gb=memory)
        arithmetic = (
            f"Training {TITLES[name]} at {decided['image_size']} pixels takes about {fixed_gb(kept):.1f} GB and "
            f"{one:.2f} GB per image, so {memory:g} GB hold {fitting}"
        )
        if fitting < 1:
            reason = f"{arithmetic}: training may run out of memory even with one image."
            return Decision(value=1, reason=reason)
        if fitting < wanted:
            return Decision(value=fitting, reason=f"{arithmetic}; memory is the bound.")
        return Decision(value=wanted, reason=f"{arithmetic}; {wanted} is the SAM networks' batch.")

    return choose_batch_size


def inference_batch_size_of(name: str) -> Rule:
    """The rule for the slices per forward pass of a network without SAM."""

    def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
        usual = network.choose_inference_batch_size(evidence, decided)
        one = INFERENCE_SHARE * _image_gb(name, decided)
        fitting = largest_batch(footprint(name, decided), one, memory_gb=decided["memory_gb"])
        if fitting >= usual.value:
            return usual
        reason = f"A slice without gradients takes about {one:.2f} GB; memory is the bound."
        return Decision(value=max(1, fitting), reason=reason)

    return choose_inference_batch_size


def choose_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs to train: as the SAM networks."""
    decision = training.choose_epochs(evidence, decided)
    if decided["target"] == "cpu":
        return decision
    return replace(decision, reason="As many as the SAM networks, so that all see as many slices.")


def learning_rate_of(name: str) -> Rule:
    """The rule for AdamW's peak learning rate of a network without SAM."""
    value, compared = LEARNING_RATES[name]
    start = f"AdamW from random weights, {TITLES[name]}: "
    if compared:
        reason = (
            f"{start}the best of {compared} rates in one short trial on the phantom, and the largest of them."
        )
    else:
        reason = f"{start}AdamW's own default; no other rate was compared."
    return lambda evidence, decided: Decision(value=value, reason=reason)


def choose_head_learning_rate(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Peak learning rate of AdamW for AutoSAM."""
    if decided["encoder_training"] != "frozen":
        return training.choose_learning_rate(evidence, decided)
    reason = (
        f"AdamW's own default, for a convolutional head from random weights; SAMed's "
        f"{training.SAMED_LEARNING_RATE} is for SAM's own decoder and low-rank updates."
    )
    return Decision(value=HEAD_LEARNING_RATE, reason=reason)


def choose_weight_decay(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """AdamW's weight decay."""
    return Decision(
        value=UNET_WEIGHT_DECAY, reason="AdamW's own default; nothing pretrained has to be kept near."
    )


def choose_poly_power(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Exponent of the polynomial decay after warm-up."""
    return Decision(value=training.POLY_POWER, reason="The polynomial decay of nnU-Net, and of SAMed.")


def choose_loss_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of cross-entropy, and of the Dice loss."""
    return Decision(value=1.0, reason="Dice and cross-entropy count alike, as in nnU-Net.")


def choose_frozen_encoder(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "frozen" with pretrained weights, else "full"."""
    if decided["weights"] is None:
        reason = (
            "Without pretrained weights a frozen encoder of random numbers would be no baseline, so it is trained: "
            "this is not the network as published."
        )
        return Decision(value="full", reason=reason)
    return Decision(
        value="frozen", reason="As published: SAM's encoder stays as it is, what follows it is trained."
    )


def _image_gb(name: str, decided: Mapping[str, Any]) -> float:
    return image_gb(
        footprint(name, decided),
        image_size=decided["image_size"],
        num_classes=len(decided["labels"]) - 1,
        mixed_precision=decided["target"] == "gpu",
    )
