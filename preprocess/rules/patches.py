"""What networks on sub-volumes share: their patches, how many of them an epoch has, and windows in inference."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from pgsam_monai.base.capabilities import PATCHES, Capabilities
from preprocess.rules import training
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import PATCH
from preprocess.rules.evidence import Evidence
from preprocess.rules.geometry import resampled_extents
from preprocess.rules.kind import SHARE, Kind, choice, is_number, takes, whole
from preprocess.splits.few_shot import FewShot

MOST_WINDOWS = 4
PATCHES_PER_CASE = 4
GPU_EPOCHS = 200
OVERLAP = 0.5
CPU_FOREGROUND_SHARE = 0.9
FINE_STEP = 8
"""Voxels that a patch's sides are multiples of where no token is longer and nothing is halved more often."""


def in_multiples(step: int) -> Kind:
    """Sides of a patch."""
    sides = whole(step, step)
    return Kind(
        what=f"three multiples of {step} voxels (rows, columns, slices)",
        fits=lambda value: isinstance(value, list) and len(value) == 3 and all(map(sides.fits, value)),
    )


BELOW_1 = Kind(
    what="a number of at least 0 and below 1", fits=lambda value: is_number(value) and 0 <= value < 1
)


def input_fault(can: Capabilities, shared: Mapping[str, Any]) -> str | None:
    """A sentence where the decisions that networks share rule out one that trains on sub-volumes."""
    if can.input != PATCHES:
        return None
    if shared["patch_3d"] is None:
        return (
            f"patch_3d null: {can.title} trains on sub-volumes, and this data is planned as single slices; leave "
            f"{can.network} out of --networks, or override patch_3d=[rows,columns,slices]."
        )
    if shared["spacing"] is None:
        wish = "override spacing=[rows,columns,slices] in mm."
        return f"spacing null: {can.title} resamples volumes to one spacing; {wish}"
    return None


@takes(SHARE)
def choose_foreground_share(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of patches that are drawn around a structure, chosen first; the rest lie anywhere."""
    if decided["target"] == "cpu":
        reason = (
            "A CPU has few steps, which structures should fill: Synapse, four cases, one seed, 800 steps, RefSAM3D "
            "0.678 instead of 0.657 with a half, 1800 steps 0.744 instead of 0.711; DynUNet3D, 800 steps, 0.677 "
            "instead of 0.674."
        )
        return Decision(value=CPU_FOREGROUND_SHARE, reason=reason)
    reason = "RefSAM3D's ratio of foreground to background patches, 1:1 (Section 4.1.2); nnU-Net has a third."
    return Decision(value=training.FOREGROUND_SHARE, reason=reason)


def wanted_patch(decided: Mapping[str, Any]) -> list[int]:
    """The decision `patch_3d` in whole multiples of 16."""
    return [max(1, ceil(side / PATCH)) * PATCH for side in decided["patch_3d"]]


def filled(patch: Sequence[int], evidence: Evidence, decided: Mapping[str, Any]) -> list[int]:
    """`patch`, no side longer than the next multiple of `FINE_STEP` that holds a median case: more would be zeros."""
    extents, _ = resampled_extents(evidence, decided)
    holding = [max(2 * FINE_STEP, FINE_STEP * ceil(round(voxels / FINE_STEP, 6))) for voxels in extents]
    return [min(pair) for pair in zip(patch, holding, strict=True)]


def shorten(patch: Sequence[int], fits: Callable[[Sequence[int]], bool]) -> list[int]:
    """`patch`, 16 voxels at a time taken off its longest axes until it fits, or nothing can be taken off."""
    shorter = list(patch)
    while not fits(shorter) and max(shorter) > PATCH:
        shorter[shorter.index(max(shorter))] -= PATCH
    return shorter


def choose_iterations_per_epoch(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Optimiser steps per epoch: a few patches of each training case, within the budget."""
    cpu = decided["target"] == "cpu"
    most = training.CPU_MAX_ITERATIONS if cpu else training.GPU_MAX_ITERATIONS
    cases, batch = _training_cases(evidence, decided), decided["batch_size"]
    one_pass = ceil(PATCHES_PER_CASE * cases / batch)
    value = max(training.MIN_ITERATIONS, min(most, one_pass))
    reason = (
        f"{PATCHES_PER_CASE} patches from each of about {cases} training cases of a fold take {one_pass} steps of "
        f"{batch}"
    )
    if one_pass > most:
        reason += f"; the budget on a {decided['target'].upper()} is {most} per epoch"
    if one_pass < training.MIN_ITERATIONS:
        reason += f"; fewer than {training.MIN_ITERATIONS} aren't worth an epoch's bookkeeping"
    return Decision(value=value, reason=f"{reason}.")


@takes(choice("default", "papers", "none"))
def choose_augmentation(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Name of the augmentation list."""
    return training.choose_augmentation(evidence, decided)


def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Windows per forward pass without gradients."""
    if decided["target"] == "cpu":
        return Decision(value=1, reason="More windows at a time gain nothing on a CPU.")
    value = min(MOST_WINDOWS, 2 * decided["batch_size"])
    reason = f"Twice the training batch, since nothing is kept for gradients; at most {MOST_WINDOWS}."
    return Decision(value=value, reason=reason)


@takes(BELOW_1)
def choose_overlap(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How much of a window's side its neighbour shares."""
    reason = "Half, as nnU-Net: inside a volume a voxel is seen by 8 windows, weighted by nearness to their centres."
    return Decision(value=OVERLAP, reason=reason)


def _training_cases(evidence: Evidence, decided: Mapping[str, Any]) -> int:
    """About how many cases one fold trains on, a few-shot wish respected."""
    folds = decided["folds"]
    pool = max(1, round(len(evidence.cases) * (folds - 1) / folds))
    if evidence.few_shot is None:
        return pool
    few_shot = FewShot.parse(evidence.few_shot)
    if few_shot.level == "slice":
        return pool
    kept, units = training.few_shot_units(evidence, decided, few_shot)
    return max(1, round(pool * kept / units))


def by(sides: Sequence[float]) -> str:
    """As in "64 x 64 x 32"."""
    return " x ".join(f"{side:.4g}" for side in sides)


TRAINING_RULES = training.TRAINING_RULES | {
    "iterations_per_epoch": choose_iterations_per_epoch,
    "augmentation": choose_augmentation,
}
INFERENCE_RULES = {"inference_batch_size": choose_inference_batch_size, "overlap": choose_overlap}
