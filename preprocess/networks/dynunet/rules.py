"""The DynUNet baseline's own decisions: nnU-Net's 2-D topology, its memory and learning rate."""

from collections.abc import Mapping
from math import prod
from typing import Any

from preprocess.networks.declared import capabilities
from preprocess.rules.baselines import size_fault, slice_rules
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.footprint import Footprint, Stage, values_of
from preprocess.rules.kind import Kind, is_whole, takes

TITLE = capabilities("dynunet").title

# nnU-Net's 2-D rule
MIN_FEATURE_MAP, MAX_STAGES = 4, 8
FIRST_FILTERS, MOST_FILTERS = 32, 512
LEAST_STAGES = 3
"""MONAI's DynUNet has no fewer."""

FULL_COST = 4
"""CPU seconds of a step of 12 slices of 128 pixels with a finest stage at full resolution, 5.6, over those without."""

LEARNING_RATE, COMPARED = 0.003, 3
"""In the trial that rules/baselines.py tells of, Dice was 0.880 at 0.003, 0.865 at 0.001, 0.640 at 0.0003."""


def _is_topology(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"kernels", "strides", "filters"}:
        return False
    lists = list(value.values())
    whole = all(isinstance(item, list) and all(is_whole(n) and n > 0 for n in item) for item in lists)
    if not whole or len({len(item) for item in lists}) > 1 or len(lists[0]) < LEAST_STAGES:
        return False
    pairs = zip(value["kernels"], value["strides"], strict=True)
    return all(kernel % 2 and stride <= kernel + 1 for kernel, stride in pairs)


TOPOLOGY = Kind(
    what='equally long lists of whole numbers {"kernels":[3,…],"strides":[1,2,…],"filters":[32,…]} of 3 stages or '
    "more, kernels odd, no stride above its kernel by more than 1",
    fits=_is_topology,
)


@takes(TOPOLOGY)
def choose_topology(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Kernels, strides and channels of DynUNet's stages, the finest first: nnU-Net's 2-D rule, on a CPU without its
    finest stage."""
    sides = [decided["image_size"]]
    while sides[-1] >= 2 * MIN_FEATURE_MAP and sides[-1] % 2 == 0 and len(sides) < MAX_STAGES:
        sides.append(sides[-1] // 2)
    coarse = decided["target"] == "cpu" and len(sides) > LEAST_STAGES
    stages = len(sides) - coarse
    value = {
        "kernels": [3] * stages,
        "strides": [2 if coarse else 1] + [2] * (stages - 1),
        "filters": [min(MOST_FILTERS, FIRST_FILTERS * 2**stage) for stage in range(stages)],
    }
    reason = (
        f"By nnU-Net's 2-D rule {sides[0]} pixels are halved {len(sides) - 1} times, to {sides[-1]}, as long as a side "
        f"is even, the map keeps {MIN_FEATURE_MAP} pixels and there are at most {MAX_STAGES} stages; channels double "
        f"from {FIRST_FILTERS} to {MOST_FILTERS} at most, kernels are 3 x 3."
    )
    if coarse:
        reason += (
            f" On a CPU the finest stage has {sides[1]} pixels a side: one at full resolution takes {FULL_COST} times "
            "as long, and in like time a network without it learnt more (Synapse at 128 pixels, 14 and 17 minutes: "
            "Dice of eight organs 0.700 and 0.528)."
        )
    return Decision(value=value, reason=reason)


def footprint(decided: Mapping[str, Any]) -> Footprint:
    """A convolution keeps its output and the normed one. Encoder: 2 convolutions; decoder: 2 and their joined input of
    twice the channels."""
    topology = decided["topology"]
    filters, stages, parameters, size = topology["filters"], [], 0, float(decided["image_size"])
    for index, (channels, stride) in enumerate(zip(filters, topology["strides"], strict=True)):
        size /= stride
        deepest = index == len(filters) - 1
        stages.append(Stage(channels=channels, side=size, maps=4 if deepest else 10))
        area = topology["kernels"][index] ** 2
        parameters += area * channels * ((filters[index - 1] if index else 1) + channels)
        if not deepest:
            parameters += 3 * area * channels**2 + 4 * channels * filters[index + 1]
    return Footprint(kept_values=values_of(stages), parameters_m=parameters / 1e6)


_SHARED = slice_rules(TITLE, footprint, learning_rate=LEARNING_RATE, compared=COMPARED)
RULES = (
    {name: _SHARED[name] for name in ("image_size", "fit", "sampling")}
    | {"topology": choose_topology}
    | _SHARED
)


def find_fault(values: Mapping[str, Any]) -> str | None:
    """A sentence where the topology can't halve the decided input size."""
    multiple = prod(values["topology"]["strides"])
    return size_fault(TITLE, values["image_size"], multiple=multiple, least=2 * multiple)
