"""The 3-D baseline's own decisions: nnU-Net's 3d_fullres topology on RefSAM3D's patches, as memory allows."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from preprocess.networks.declared import capabilities
from preprocess.rules import baselines, patches, training
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.footprint import TEMPORARIES, Footprint, fixed_gb, largest_batch
from preprocess.rules.kind import Kind, takes, whole
from preprocess.rules.memory import FULL_BYTES, HALF_BYTES, LOGIT_COPIES
from preprocess.rules.patches import FINE_STEP, by, filled, in_multiples, shorten, wanted_patch

TITLE = capabilities("dynunet_3d").title
MIN_FEATURE_MAP = 4
FIRST_FILTERS, MOST_FILTERS = 32, 320
LEAST_STAGES = 3
"""MONAI's DynUNet has no fewer."""
FULL_COST = 6
"""CPU seconds of a step of 2 x 40 x 56 x 40 voxels with a finest stage at full resolution, 4.4, over those without."""
BATCH = 2
"""nnU-Net's least, which it has for patches of about 128^3 voxels."""

LEARNING_RATE = 0.003


def _is_topology_3d(value: Any) -> bool:
    """Stages of three axes each, of odd kernels and strides that these can take."""
    if not isinstance(value, dict) or set(value) != {"kernels", "strides", "filters"}:
        return False
    kernels, strides, filters = (value[name] for name in ("kernels", "strides", "filters"))
    if not all(isinstance(item, list) for item in (kernels, strides, filters)):
        return False
    axes = all(isinstance(stage, list) and len(stage) == 3 for stage in (*kernels, *strides))
    if not axes or len(filters) < 3 or {len(kernels), len(strides)} != {len(filters)}:
        return False
    pairs = list(zip(sum(kernels, []), sum(strides, []), strict=True))
    positive = all(map(whole(1).fits, [*filters, *(number for pair in pairs for number in pair)]))
    return positive and all(kernel % 2 and stride <= kernel + 1 for kernel, stride in pairs)


TOPOLOGY_3D = Kind(
    what='equally long lists {"kernels":[[3,3,1],…],"strides":[[1,1,1],[2,2,1],…],"filters":[32,…]} of 3 stages or '
    "more (rows, columns, slices), kernels odd, no stride above its kernel by more than 1",
    fits=_is_topology_3d,
)


@takes(in_multiples(FINE_STEP))
def choose_patch(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Sub-volume of a training step and of a window in voxels (rows, columns, slices), multiples of 8."""

    def fits(patch: Sequence[int]) -> bool:
        return _fitting(decided, patch, _topology(patch, decided)) > 0

    planned = wanted_patch(decided)
    wanted = filled(planned, evidence, decided)
    patch = shorten(wanted, fits)
    if patch == wanted:
        reason = "The 3-D patch that the decision `patch_3d` gives, as for RefSAM3D."
        if wanted != planned:
            reason = (
                f"What a median case fills of the {by(planned)} voxels that the decision `patch_3d` gives: the rest of "
                f"RefSAM3D's multiples of 16 would be zeros; here multiples of {FINE_STEP} will do."
            )
        return Decision(value=patch, reason=reason)
    reason = (
        f"{by(wanted)} voxels as in the decision `patch_3d` don't fit into {decided['memory_gb']:g} GB: shortened "
        "along the longest axes, 16 voxels at a time."
    )
    if not fits(patch):
        reason += " Training may run out of memory even so."
    return Decision(value=patch, reason=reason)


@takes(TOPOLOGY_3D)
def choose_topology(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Kernels and strides (rows, columns, slices) and channels of the stages, the finest first: nnU-Net's 3-D rule,
    on a CPU without its finest stage."""
    patch = decided["patch"]
    value = _topology(patch, decided)
    stages = _sides(patch, value["strides"])
    reason = (
        f"By nnU-Net's 3-D rule {by(patch)} voxels of {by(decided['spacing'])} mm are halved to {by(stages[-1])}: an "
        f"axis while it is even and keeps {MIN_FEATURE_MAP} voxels, once they are less than twice as long as the "
        "shortest. Until then its kernels are 1, from then on 3; channels double from "
        f"{FIRST_FILTERS} to {MOST_FILTERS} at most."
    )
    if stages[0] != patch:
        reason += (
            f" On a CPU the finest stage has {by(stages[0])} voxels: one at full resolution takes {FULL_COST} times as "
            f"long, and in equal time a network without it learnt more (Hippocampus, 6 minutes: Dice 0.850 and 0.801)."
        )
    return Decision(value=value, reason=reason)


def choose_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Patches per training step."""
    patch, topology, memory = decided["patch"], decided["topology_3d"], decided["memory_gb"]
    kept, fitting = footprint(patch, topology), _fitting(decided, patch, topology)
    reason = (
        f"Training {TITLE} on {by(patch)} voxels takes about {fixed_gb(kept):.1f} GB and "
        f"{_patch_gb(decided, patch, topology):.2f} GB per patch, so {memory:g} GB hold {fitting}"
    )
    if fitting < 1:
        reason += ": training may run out of memory even with one patch."
    elif fitting < BATCH:
        reason += "; memory is the bound."
    else:
        reason += f"; {BATCH} is nnU-Net's least."
    return Decision(value=max(1, min(BATCH, fitting)), reason=reason)


def choose_epochs(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Epochs to train: as RefSAM3D."""
    if decided["target"] == "cpu":
        return training.choose_epochs(evidence, decided)
    reason = "As many as RefSAM3D, for the comparison; nnU-Net itself trains for 1000 of 250 steps."
    return Decision(value=patches.GPU_EPOCHS, reason=reason)


def choose_learning_rate(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Peak learning rate of AdamW."""
    reason = "AdamW from random weights: the 2-D DynUNet's, best of 3 there; not searched in 3-D."
    return Decision(value=LEARNING_RATE, reason=reason)


def footprint(patch: Sequence[int], topology: Mapping[str, Any]) -> Footprint:
    """What a patch and the network take. As in 2-D, a convolution keeps its output and the normed one: 2 convolutions
    in the encoder; 2 in the decoder, and their joined input of twice the channels."""
    filters, strides, values, parameters = topology["filters"], topology["strides"], 0, 0
    for index, sides in enumerate(_sides(patch, strides)):
        channels, deepest = filters[index], index == len(filters) - 1
        volume = prod(topology["kernels"][index])
        values += channels * prod(sides) * (4 if deepest else 10)
        parameters += volume * channels * ((filters[index - 1] if index else 1) + channels)
        if not deepest:  # MONAI's decoder has the kernels of the stage below
            below, step = prod(topology["kernels"][index + 1]), prod(strides[index + 1])
            parameters += 3 * below * channels**2 + step * channels * filters[index + 1]
    return Footprint(kept_values=values, parameters_m=parameters / 1e6)


def patch_gb(kept: Footprint, *, supervised_voxels: int, num_classes: int, mixed_precision: bool) -> float:
    """Memory of one patch of a training batch in GB; `supervised_voxels` are those of all outputs together.

    Per patch of a CPU step in float32 with 2 classes were measured (difference of the peaks of batches of 3 and 1), and
    are arrived at here: 48 x 48 x 48 cubic voxels 0.220 GB and 0.242, 64 x 64 x 16 of 0.75 x 0.75 x 3 mm 0.192 and
    0.197. Nothing was measured on a GPU.
    """
    number = HALF_BYTES if mixed_precision else FULL_BYTES
    map_bytes = LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * supervised_voxels
    return (TEMPORARIES * number * kept.kept_values + map_bytes) / 1e9


def _patch_gb(decided: Mapping[str, Any], patch: Sequence[int], topology: Mapping[str, Any]) -> float:
    return patch_gb(
        footprint(patch, topology),
        supervised_voxels=sum(map(prod, [patch, *_sides(patch, topology["strides"])[1:-2]])),
        num_classes=len(decided["labels"]) - 1,
        mixed_precision=decided["target"] == "gpu",
    )


def _fitting(decided: Mapping[str, Any], patch: Sequence[int], topology: Mapping[str, Any]) -> int:
    """The most patches whose step fits into the decided memory."""
    one = _patch_gb(decided, patch, topology)
    return largest_batch(footprint(patch, topology), one, memory_gb=decided["memory_gb"])


def _topology(patch: Sequence[int], decided: Mapping[str, Any]) -> dict[str, Any]:
    """nnU-Net's for a patch of these sides in voxels; on a CPU the second stage is the first, if 3 are left."""
    strides, kernels = _halvings(patch, decided["spacing"])
    if decided["target"] == "cpu" and len(strides) > LEAST_STAGES:
        strides, kernels = strides[1:], kernels[1:]
    filters = [min(MOST_FILTERS, FIRST_FILTERS * 2**stage) for stage in range(len(strides))]
    return {"kernels": kernels, "strides": strides, "filters": filters}


def _halvings(patch: Sequence[int], spacing: Sequence[float]) -> tuple[list[list[int]], list[list[int]]]:
    """Strides and kernels of nnU-Net's stages, of a patch of these sides in voxels and this spacing in mm."""
    sides, lengths, strides, kernels = list(patch), list(spacing), [], []
    stride, kernel = [1, 1, 1], [1, 1, 1]
    while True:
        sides = [side // step for side, step in zip(sides, stride, strict=True)]
        lengths = [length * step for length, step in zip(lengths, stride, strict=True)]
        # kernels of 3 stay, and what is halved needs its neighbours
        axes = zip(kernel, stride, lengths, strict=True)
        kernel = [3 if old == 3 or step == 2 or mm < 2 * min(lengths) else 1 for old, step, mm in axes]
        strides.append(stride)
        kernels.append(kernel)
        can = [side % 2 == 0 and side >= 2 * MIN_FEATURE_MAP for side in sides]
        if not any(can):
            return strides, kernels
        shortest = min(length for length, able in zip(lengths, can, strict=True) if able)
        stride = [
            2 if able and length < 2 * shortest else 1 for length, able in zip(lengths, can, strict=True)
        ]


def _sides(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> list[list[int]]:
    """Voxels of every stage's maps."""
    stages, sides = [], list(patch)
    for stride in strides:
        sides = [side // step for side, step in zip(sides, stride, strict=True)]
        stages.append(sides)
    return stages


RULES = {
    "patch": choose_patch,
    "topology_3d": choose_topology,
    "batch_size": choose_batch_size,
    **patches.TRAINING_RULES,
    "epochs": choose_epochs,
    "learning_rate": choose_learning_rate,
    "weight_decay": baselines.choose_weight_decay,
    "warmup_iterations": training.choose_scratch_warmup_iterations,
    "poly_power": baselines.choose_poly_power,
    "ce_weight": baselines.choose_loss_weight,
    "dice_weight": baselines.choose_loss_weight,
    "foreground_share": patches.choose_foreground_share,
    **patches.INFERENCE_RULES,
}


def find_fault(values: Mapping[str, Any]) -> str | None:
    """A sentence where the decided patch and topology don't go together."""
    patch, strides = values["patch"], values["topology_3d"]["strides"]
    multiples = [prod(along) for along in zip(*strides, strict=True)]
    whole = all(side % multiple == 0 for side, multiple in zip(patch, multiples, strict=True))
    if whole and prod(patch) > prod(multiples):
        return None
    return (
        f"patch {patch}: with the strides of topology_3d, {TITLE} takes multiples of {multiples} voxels, one of them "
        "at least twice; override dynunet_3d.patch or dynunet_3d.topology_3d."
    )
