"""Folds, length of training and optimiser."""

import math
from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.errors import UserFault
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.geometry import in_oriented_order
from preprocess.rules.kind import FACTOR, SHARE, choice, number, or_null, takes, whole
from preprocess.rules.starts import as_from_random, trains_everything
from preprocess.splits.few_shot import FewShot
from preprocess.splits.subjects import RULES

# The budgets of training. They may be tuned here; nothing else holds copies.
CPU_EPOCHS, GPU_EPOCHS = 30, 160
CPU_MAX_ITERATIONS, GPU_MAX_ITERATIONS = 100, 250
MIN_ITERATIONS = 20
CPU_VAL_INTERVAL, GPU_VAL_INTERVAL = 5, 10
CPU_WORKERS, GPU_WORKERS = 1, 8

# With SAM's weights: SAMed's AdamW. From random weights: a gentler one, tried on CPUs.
SAMED_LEARNING_RATE, SAMED_BATCH = 0.005, 24
SAMED_WEIGHT_DECAY, SAMED_WARMUP = 0.1, 250
SCRATCH_LEARNING_RATE, SCRATCH_WEIGHT_DECAY, SCRATCH_WARMUP = 0.003, 0.05, 100
POLY_POWER = 0.9
CE_WEIGHT, DICE_WEIGHT = 0.2, 0.8
GRADIENT_NORM = 1.0

FOREGROUND_SHARE = 0.5
MAX_FOLDS = 5
SEED = 123


@takes(choice(*RULES))
def choose_subjects(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How it is known whom each case shows: folds and few-shot subsets go by it."""
    rule, found = next(iter(evidence.subjects.items()))
    return Decision(value=rule, reason=found.reason)


@takes(whole(2))
def choose_folds(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Number of cross-validation folds.

    Raises:
        UserFault: fewer than two labelled cases.
    """
    count, stated = len(evidence.cases), len(set(evidence.stated_folds.values()))
    subjects = evidence.subjects_by(decided["subjects"]).count(evidence.cases)
    if count < 2:
        raise UserFault(
            f"The data set holds {count} labelled training case{'' if count == 1 else 's'}; "
            "at least 2 are needed, one to "
            "train on and one to validate on. Label another case."
        )
    if len(evidence.stated_folds) == count and stated > 1:
        return Decision(
            value=stated, reason=f"The data set itself assigns its {count} labelled cases to {stated} folds."
        )
    units = "cases" if subjects == count else "subjects"
    labelled = f"{count} labelled cases" + (f" of {subjects} subjects" if subjects < count else "")
    if subjects < MAX_FOLDS:
        return Decision(value=subjects, reason=f"{labelled} are few: leave-one-out, each validates once.")
    least, most = subjects // MAX_FOLDS, -(-subjects // MAX_FOLDS)
    share = f"{least}" if least == most else f"{least} or {most}"
    return Decision(
        value=MAX_FOLDS,
        reason=f"{labelled}: {MAX_FOLDS} folds with {share} validation {units} each.",
    )


@takes(whole(0))
def choose_seed(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Seed of splits, sampling and weights."""
    return Decision(
        value=SEED,
        reason="A fixed number, so that the same plan gives the same splits and the same training.",
    )


def training_slices(evidence: Evidence, decided: Mapping[str, Any]) -> int:
    """About how many slices one fold's training list holds, a few-shot wish respected."""
    total = sum(in_oriented_order(shape, decided["slice_axis"])[2] for shape in evidence.shapes)
    folds = decided["folds"]
    pool = total * (folds - 1) / folds
    if evidence.few_shot is None:
        return max(1, round(pool))
    few_shot = FewShot.parse(evidence.few_shot)
    if few_shot.level == "slice":
        return max(1, round(pool * few_shot.count(round(pool)) / round(pool)))
    kept, units = few_shot_units(evidence, decided, few_shot)
    return max(1, round(pool * kept / units))


def few_shot_units(evidence: Evidence, decided: Mapping[str, Any], few_shot: FewShot) -> tuple[int, int]:
    """How many of about how many training subjects of a fold are kept."""
    subjects, folds = evidence.subjects_by(decided["subjects"]), decided["folds"]
    count = subjects.count(evidence.cases)
    pool = max(1, round(count * (folds - 1) / folds))
    units = "cases" if count == len(evidence.cases) else "subjects"
    return few_shot.count(pool, units), pool


@takes(whole(1))
def choose_iterations_per_epoch(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Optimiser steps per epoch: one pass over the training slices, within the budget."""
    most = CPU_MAX_ITERATIONS if decided["target"] == "cpu" else GPU_MAX_ITERATIONS
    slices, batch = training_slices(evidence, decided), decided["batch_size"]
    one_pass = math.ceil(slices / batch)
    value = max(MIN_ITERATIONS, min(most, one_pass))
    reason = f"One pass over about {slices} training slices of a fold takes {one_pass} steps of {batch}"
    if one_pass > most:
        return Decision(
            value=value, reason=f"{reason}; the budget on a {decided['target'].upper()} is {most} per epoch."
        )
    if one_pass < MIN_ITERATIONS:
        return Decision(
            value=value, reason=f"{reason}; fewer than {MIN_ITERATIONS} aren't worth an epoch's bookkeeping."
        )
    return Decision(value=value, reason=f"{reason}.")


@takes(whole(1))
def choose_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs to train."""
    if decided["target"] == "cpu":
        steps = CPU_EPOCHS * decided["iterations_per_epoch"]
        return Decision(value=CPU_EPOCHS, reason=f"A budget for CPUs: {steps} steps in all.")
    return Decision(value=GPU_EPOCHS, reason="SAMed stops after 160 epochs.")


@takes(FACTOR)
def choose_learning_rate(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Peak learning rate of AdamW."""
    if trains_everything(decided):
        reason = (
            f"AdamW from random weights: {SCRATCH_LEARNING_RATE}; SAMed's {SAMED_LEARNING_RATE} "
            f"suits low-rank updates only.{as_from_random(decided)}"
        )
        return Decision(value=SCRATCH_LEARNING_RATE, reason=reason)
    batch = decided["batch_size"]
    if batch >= SAMED_BATCH:
        return Decision(value=SAMED_LEARNING_RATE, reason=f"SAMed's, for batches of {SAMED_BATCH}.")
    value = round(SAMED_LEARNING_RATE * math.sqrt(batch / SAMED_BATCH), 5)
    reason = (
        f"SAMed's {SAMED_LEARNING_RATE} for batches of {SAMED_BATCH}, times "
        f"sqrt({batch}/{SAMED_BATCH}) for this batch."
    )
    return Decision(value=value, reason=reason)


@takes(number(0))
def choose_weight_decay(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """AdamW's weight decay."""
    if trains_everything(decided):
        reason = f"The usual value for training a ViT from random weights.{as_from_random(decided)}"
        return Decision(value=SCRATCH_WEIGHT_DECAY, reason=reason)
    return Decision(value=SAMED_WEIGHT_DECAY, reason="The weight decay that SAMed was published with.")


@takes(whole(0))
def choose_warmup_iterations(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Steps of linear warm-up."""
    return _warmup(decided, scratch=trains_everything(decided))


def choose_scratch_warmup_iterations(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Steps of linear warm-up of a network that has no pretrained part."""
    return _warmup(decided, scratch=True)


def _warmup(decided: Mapping[str, Any], *, scratch: bool) -> Decision:
    wanted = SCRATCH_WARMUP if scratch else SAMED_WARMUP
    steps = decided["epochs"] * decided["iterations_per_epoch"]
    value = min(wanted, max(1, steps // 10))
    whose = "The usual warm-up from random weights" if scratch else "SAMed's warm-up"
    cut = "." if value == wanted else f" is {wanted}; cut to a tenth of all {steps} steps."
    return Decision(value=value, reason=whose + cut)


@takes(number(0))
def choose_poly_power(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Exponent of the polynomial decay after warm-up."""
    return Decision(value=POLY_POWER, reason="SAMed's polynomial decay.")


@takes(whole(1))
def choose_schedule_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs after which the polynomial decay would reach zero."""
    return Decision(value=decided["epochs"], reason="The learning rate reaches zero as training ends.")


@takes(whole(1))
def choose_val_interval(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs between validations on whole cases."""
    wanted = CPU_VAL_INTERVAL if decided["target"] == "cpu" else GPU_VAL_INTERVAL
    value = max(1, min(wanted, decided["epochs"]))
    times = decided["epochs"] // value
    return Decision(
        value=value, reason=f"Whole cases are predicted {times} times in {decided['epochs']} epochs."
    )


@takes(number(0))
def choose_ce_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of cross-entropy in the loss."""
    return Decision(value=CE_WEIGHT, reason="SAMed's 0.2 cross-entropy + 0.8 Dice.")


@takes(number(0))
def choose_dice_weight(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weight of the Dice loss."""
    return Decision(value=DICE_WEIGHT, reason="SAMed's 0.2 cross-entropy + 0.8 Dice.")


@takes(or_null(FACTOR))
def choose_gradient_norm(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Total norm that gradients are scaled down to before a step; null: they stay as they are."""
    return Decision(
        value=GRADIENT_NORM, reason="The usual bound, so that one strange batch can't throw a training off."
    )


@takes(whole(0))
def choose_num_workers(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Processes that load training slices."""
    if decided["target"] == "cpu":
        return Decision(value=CPU_WORKERS, reason="Loading needs little; the cores are for the network.")
    return Decision(value=GPU_WORKERS, reason="As many as SAMed's code uses; enough to keep a GPU fed.")


@takes(SHARE)
def choose_foreground_share(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of draws that pick a structure first and then a slice showing it; the rest take all slices in turn."""
    rare = min(
        (label.slices.get(decided["slice_axis"], 0.0) for label in evidence.labels.values()), default=0.0
    )
    reason = f"Half of the draws pick a structure first: the rarest is on {rare:.0%} of a case's slices only."
    return Decision(value=FOREGROUND_SHARE, reason=reason)


@takes(choice("default", "papers", "hsam", "none"))
def choose_augmentation(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Name of the augmentation list."""
    reason = (
        "Rotation, scale, shift, brightness, contrast and noise, without mirroring: left and "
        "right stay apart."
    )
    return Decision(value="default", reason=reason)


@takes(choice("mm", "papers", "synapse"))
def choose_protocol(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How `evaluating` measures: "mm", or "papers" for both that and the 2-D papers' own protocol ("synapse": of
    earlier versions' plans)."""
    if not evidence.has_orientation:
        return Decision(
            value="mm",
            reason="Distances in pixels, since the files state no spacing; empties by a stated rule.",
        )
    return Decision(
        value="mm", reason="Distances in millimetres on the original grid; empty masks by a stated rule."
    )


@takes(choice("best", "last"))
def choose_model_selection(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Which network model.pt holds: the "best" in validation or the "last"."""
    return Decision(
        value="best",
        reason="Validation cases are held out from training; the network with their highest mean Dice is kept.",
    )


TRAINING_RULES = {
    "iterations_per_epoch": choose_iterations_per_epoch,
    "epochs": choose_epochs,
    "learning_rate": choose_learning_rate,
    "weight_decay": choose_weight_decay,
    "warmup_iterations": choose_warmup_iterations,
    "poly_power": choose_poly_power,
    "schedule_epochs": choose_schedule_epochs,
    "val_interval": choose_val_interval,
    "ce_weight": choose_ce_weight,
    "dice_weight": choose_dice_weight,
    "gradient_norm": choose_gradient_norm,
    "num_workers": choose_num_workers,
    "foreground_share": choose_foreground_share,
    "augmentation": choose_augmentation,
    "model_selection": choose_model_selection,
    "protocol": choose_protocol,
}
"""Of every network, in their order, between its batch size and that of inference; some have rules of their own."""
