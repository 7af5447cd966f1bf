"""The UNETR baseline's own decisions: its memory, its learning rate, the sizes it takes."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.declared import capabilities
from preprocess.rules.baselines import size_fault, slice_rules
from preprocess.rules.footprint import FIRST_BLOCK, UP_BLOCK, WORDS_PER_TOKEN, Footprint, Stage, values_of

TITLE = capabilities("unetr").title
VIT_WIDTH, VIT_DEPTH, VIT_HEADS, VIT_PATCH = 768, 12, 12, 16
UNETR_FEATURES = 16
LEARNING_RATE = 0.001
"""In the trial that rules/baselines.py tells of, Dice was 0.346; other rates were not finished."""


def footprint(decided: Mapping[str, Any]) -> Footprint:
    """ViT-B with attention written out, and a decoder of residual blocks whose skips are upsampled tokens."""
    side = decided["image_size"]
    tokens = (side / VIT_PATCH) ** 2
    vit = VIT_DEPTH * (VIT_WIDTH * WORDS_PER_TOKEN * tokens + VIT_HEADS * tokens**2)
    first = UNETR_FEATURES
    convolutions = [
        Stage(channels=first * 2**n, side=side / 2**n, maps=FIRST_BLOCK + UP_BLOCK) for n in range(4)
    ]
    return Footprint(kept_values=vit + values_of(convolutions), parameters_m=87 + VIT_WIDTH * tokens / 1e6)


RULES = slice_rules(TITLE, footprint, learning_rate=LEARNING_RATE)


def find_fault(values: Mapping[str, Any]) -> str | None:
    """A sentence where the network can't take the decided input size."""
    return size_fault(TITLE, values["image_size"], multiple=16, least=32)
