"""Networks without SAM, from random weights; what they share with SAM's, such as sampling, is decided alike."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from preprocess.rules import slices, training
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.footprint import INFERENCE_SHARE, Footprint, fixed_gb, image_gb, largest_batch

WEIGHT_DECAY = 0.01

# Learning rates were compared by validation Dice (fold 0, one seed) after 180 steps of 8 slices of 10 phantoms at 96
# pixels. Each network's best one is the largest tried, so larger ones may be better still. The SAM networks' rates were
# not searched in this trial: SAMed with vit_tiny had its planned 0.003 alone (0.798).

FindFootprint = Callable[[Mapping[str, Any]], Footprint]
"""From what was decided to what one image of a batch, and the network itself, take."""


def slice_rules(
    title: str, find_footprint: FindFootprint, *, learning_rate: float, compared: int = 0
) -> dict[str, Any]:
    """The rules of a network of slices.

    Args:
        title: the network's name for people.
        find_footprint: its memory.
        learning_rate: AdamW's peak rate.
        compared: how many rates it was the best of, in one short trial on the phantom; 0 without one.
    """
    return {
        **slices.INPUT_RULES,
        "image_size": choose_image_size,
        "batch_size": _batch_size_rule(title, find_footprint),
        **training.TRAINING_RULES,
        "epochs": choose_epochs,
        "learning_rate": _learning_rate_rule(title, learning_rate, compared),
        "weight_decay": choose_weight_decay,
        "warmup_iterations": training.choose_scratch_warmup_iterations,
        "poly_power": choose_poly_power,
        "ce_weight": choose_loss_weight,
        "dice_weight": choose_loss_weight,
        "inference_batch_size": _inference_batch_size_rule(find_footprint),
    }


def size_fault(title: str, size: int, *, multiple: int, least: int) -> str | None:
    """A sentence where a network can't take the decided input size."""
    if size >= least and size % multiple == 0:
        return None
    near = max(least, round(size / multiple) * multiple)
    return (
        f"image_size {size}: {title} takes multiples of {multiple} from {least} on; "
        f"override image_size={near}, for all networks that are to be compared."
    )


def choose_image_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Input side in pixels: the SAM networks' own, whose slices are to be shared."""
    decision = slices.choose_image_size(evidence, decided)
    return replace(
        decision, reason=f"The SAM networks' size, so that all see the same slices. {decision.reason}"
    )


def choose_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs to train: as the SAM networks."""
    decision = training.choose_epochs(evidence, decided)
    if decided["target"] == "cpu":
        return decision
    return replace(decision, reason="As many as the SAM networks, so that all see as many slices.")


def choose_weight_decay(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """AdamW's weight decay."""
    return Decision(value=WEIGHT_DECAY, reason="AdamW's own default; nothing pretrained has to be kept near.")


def choose_poly_power(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Exponent of the polynomial decay after warm-up."""
    return Decision(value=training.POLY_POWER, reason="The polynomial decay of nnU-Net, and of SAMed.")


def choose_loss_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of cross-entropy, and of the Dice loss."""
    return Decision(value=1.0, reason="Dice and cross-entropy count alike, as in nnU-Net.")


def _batch_size_rule(title: str, find_footprint: FindFootprint) -> Any:
    def choose_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
        """Slices per training step."""
        cpu, memory = decided["target"] == "cpu", decided["memory_gb"]
        wanted = slices.CPU_BATCH if cpu else slices.GPU_BATCH
        kept = find_footprint(decided)
        one = _image_gb(kept, decided)
        fitting = largest_batch(kept, one, memory_gb=memory)
        arithmetic = (
            f"Training {title} at {decided['image_size']} pixels takes about {fixed_gb(kept):.1f} GB and "
            f"{one:.2f} GB per image, so {memory:g} GB hold {fitting}"
        )
        if fitting < 1:
            reason = f"{arithmetic}: training may run out of memory even with one image."
            return Decision(value=1, reason=reason)
        if fitting < wanted:
            return Decision(value=fitting, reason=f"{arithmetic}; memory is the bound.")
        return Decision(value=wanted, reason=f"{arithmetic}; {wanted} is the SAM networks' batch.")

    return choose_batch_size


def _inference_batch_size_rule(find_footprint: FindFootprint) -> Any:
    def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
        """Slices per forward pass."""
        usual, kept = slices.choose_inference_batch_size(evidence, decided), find_footprint(decided)
        one = INFERENCE_SHARE * _image_gb(kept, decided)
        fitting = largest_batch(kept, one, memory_gb=decided["memory_gb"])
        if fitting >= usual.value:
            return usual
        reason = f"A slice without gradients takes about {one:.2f} GB; memory is the bound."
        return Decision(value=max(1, fitting), reason=reason)

    return choose_inference_batch_size


def _learning_rate_rule(title: str, value: float, compared: int) -> Any:
    """AdamW's peak rate."""
    reason = f"AdamW from random weights, {title}: "
    if compared:
        reason += f"the best of {compared} rates in one short trial on the phantom, and the largest of them."
    else:
        reason += "AdamW's own default; no other rate was compared."
    return lambda evidence, decided: Decision(value=value, reason=reason)


def _image_gb(kept: Footprint, decided: Mapping[str, Any]) -> float:
    return image_gb(
        kept,
        image_size=decided["image_size"],
        num_classes=len(decided["labels"]) - 1,
        mixed_precision=decided["target"] == "gpu",
    )
