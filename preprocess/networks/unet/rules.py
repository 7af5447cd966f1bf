"""The UNet baseline's own decisions: its memory, its learning rate, the sizes it takes."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.declared import capabilities
from preprocess.rules.baselines import size_fault, slice_rules
from preprocess.rules.footprint import Footprint, Stage, values_of

TITLE = capabilities("unet").title
FILTERS = (32, 64, 128, 256, 512)
LEARNING_RATE, COMPARED = 0.003, 2
"""In the trial that rules/baselines.py tells of, Dice was 0.745 at 0.003, 0.679 at 0.001."""


def footprint(decided: Mapping[str, Any]) -> Footprint:
    """A convolution keeps its output, the normed and the activated one. Encoder: 2 and the residual's; decoder: 2,
    their joined input of twice the channels and the sum. At full size there are only the classes' channels."""
    side = decided["image_size"]
    last = len(FILTERS) - 1
    stages = [
        Stage(channels=channels, side=side / 2 ** (index + 1), maps=8 if index == last else 17)
        for index, channels in enumerate(FILTERS)
    ]
    return Footprint(kept_values=values_of(stages), parameters_m=6.5)


RULES = slice_rules(TITLE, footprint, learning_rate=LEARNING_RATE, compared=COMPARED)


def find_fault(values: Mapping[str, Any]) -> str | None:
    """A sentence where the network can't take the decided input size."""
    return size_fault(TITLE, values["image_size"], multiple=16, least=32)
