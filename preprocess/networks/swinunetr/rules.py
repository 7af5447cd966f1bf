"""The SwinUNETR baseline's own decisions: its memory, its learning rate, the sizes it takes."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.declared import capabilities
from preprocess.rules.baselines import size_fault, slice_rules
from preprocess.rules.footprint import (
    FIRST_BLOCK,
    SKIP_BLOCK,
    UP_BLOCK,
    WORDS_PER_TOKEN,
    Footprint,
    Stage,
    values_of,
)

TITLE = capabilities("swinunetr").title
SWIN_FEATURES, SWIN_WINDOW, SWIN_HEADS = 24, 7, (3, 6, 12, 24)
LEARNING_RATE, COMPARED = 0.002, 3
"""In the trial that rules/baselines.py tells of, Dice was 0.719 at 0.002, 0.612 at 0.001, 0.483 at 0.0005."""


def footprint(decided: Mapping[str, Any]) -> Footprint:
    """Residual blocks on every skip but one, and 2 Swin blocks at each of 4 stages from half the side on."""
    side = decided["image_size"]
    first = SWIN_FEATURES
    convolutions = [Stage(channels=first, side=side, maps=FIRST_BLOCK + UP_BLOCK)]
    convolutions += [
        Stage(channels=first * 2**n, side=side / 2 ** (n + 1), maps=UP_BLOCK + (SKIP_BLOCK if n < 3 else 0))
        for n in range(4)
    ]
    convolutions.append(Stage(channels=16 * first, side=side / 32, maps=SKIP_BLOCK))
    attention = [
        2 * (side / 2 ** (n + 1)) ** 2 * (first * 2**n * WORDS_PER_TOKEN + heads * SWIN_WINDOW**2)
        for n, heads in enumerate(SWIN_HEADS)
    ]
    return Footprint(kept_values=values_of(convolutions) + sum(attention), parameters_m=6.3)


RULES = slice_rules(TITLE, footprint, learning_rate=LEARNING_RATE, compared=COMPARED)


def find_fault(values: Mapping[str, Any]) -> str | None:
    """A sentence where the network can't take the decided input size."""
    return size_fault(TITLE, values["image_size"], multiple=32, least=64)
