"""How much memory the networks without SAM take, by arithmetic: the maps that a step keeps, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from preprocess.rules.memory import (
    CONTEXT_GB,
    FULL_BYTES,
    HALF_BYTES,
    LOGIT_COPIES,
    TRAINED_BYTES,
    USABLE_SHARE,
)

WORDS_PER_TOKEN = 17
"""Values kept per token, block and unit of width, where the norms compute in float32 like the rest."""

TEMPORARIES = 1.25
"""Peak over what is kept. Per image of a CPU step in float32 at 224 pixels with 4 classes were measured (difference of
the peaks of batches of 10 and 4), and are arrived at here: DynUNet 0.167 GB and 0.162, UNet 0.069 and 0.071, SwinUNETR
0.195 and 0.239, UNETR 0.291 and 0.278."""

INFERENCE_SHARE = 0.35
"""Of a training image's memory: skips and working copies. Measured in the same way: DynUNet 0.26, UNet 0.30, SwinUNETR
0.24, UNETR 0.20."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one image of a batch, and what the network itself takes."""

    kept_values: float
    """numbers kept per image for the backward pass, output maps aside"""

    parameters_m: float
    """millions of parameters"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The convolutions at one resolution."""

    channels: int
    side: float
    maps: float
    """maps of these channels that are kept"""

    @property
    def values(self) -> float:
        return self.channels * self.side**2 * self.maps


SKIP_BLOCK, FIRST_BLOCK, UP_BLOCK = 4, 5, 7
"""Maps kept by a residual block: on a skip 2 convolutions, each with its normed output; a third convolution where the
channels change; and behind an upsampling the joined input of twice the channels."""


def values_of(stages: Iterable[Stage]) -> float:
    """Numbers that all stages keep."""
    return sum(stage.values for stage in stages)


def image_gb(kept: Footprint, *, image_size: int, num_classes: int, mixed_precision: bool) -> float:
    """Memory of one image of a training batch in GB."""
    number = HALF_BYTES if mixed_precision else FULL_BYTES
    map_bytes = LOGIT_COPIES * FULL_BYTES * (num_classes + 1) * image_size**2
    return (TEMPORARIES * number * kept.kept_values + map_bytes) / 1e9


def fixed_gb(kept: Footprint) -> float:
    """Memory that doesn't grow with the batch, in GB."""
    return CONTEXT_GB + kept.parameters_m * TRAINED_BYTES / 1e3


def largest_batch(kept: Footprint, one_gb: float, *, memory_gb: float) -> int:
    """The largest batch of images of `one_gb` that fits into `memory_gb`; 0 where not even one does."""
    return max(0, int((USABLE_SHARE * memory_gb - fixed_gb(kept)) / one_gb))
