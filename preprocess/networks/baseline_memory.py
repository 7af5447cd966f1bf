"""How much memory the networks without SAM take, by arithmetic: the maps that a step keeps, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.rules.memory import (
    CONTEXT_GB,
    FULL_BYTES,
    HALF_BYTES,
    LOGIT_COPIES,
    TRAINED_BYTES,
    USABLE_SHARE,
)

FILTERS = (32, 64, 128, 256, 512)
"""UNet's channels."""

SWIN_FEATURES, SWIN_WINDOW, SWIN_HEADS = 24, 7, (3, 6, 12, 24)
VIT_WIDTH, VIT_DEPTH, VIT_HEADS, VIT_PATCH = 768, 12, 12, 16
UNETR_FEATURES = 16

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
    """Numbers kept per image for the backward pass, output maps aside."""

    parameters_m: float
    """Millions of parameters."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The convolutions at one resolution."""

    channels: int
    side: float
    maps: float
    """Maps of these channels that are kept."""

    @property
    def values(self) -> float:
        return self.channels * self.side**2 * self.maps


def footprint(network: str, decided: Mapping[str, Any]) -> Footprint:
    """Of a network by name, for the input size, and for DynUNet the topology, that were decided."""
    side = decided["image_size"]
    if network == "dynunet":
        return _dynunet(side, decided["topology"])
    return {"unet": _unet, "swinunetr": _swinunetr, "unetr": _unetr}[network](side)


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


def _values(stages: Iterable[Stage]) -> float:
    return sum(stage.values for stage in stages)


def _dynunet(side: int, topology: Mapping[str, Any]) -> Footprint:
    """A convolution keeps its output and the normed one. Encoder: 2 convolutions; decoder: 2 and their joined input of
    twice the channels."""
    filters, stages, parameters, size = topology["filters"], [], 0, float(side)
    for index, (channels, stride) in enumerate(zip(filters, topology["strides"], strict=True)):
        size /= stride
        deepest = index == len(filters) - 1
        stages.append(Stage(channels=channels, side=size, maps=4 if deepest else 10))
        area = topology["kernels"][index] ** 2
        parameters += area * channels * ((filters[index - 1] if index else 1) + channels)
        if not deepest:
            parameters += 3 * area * channels**2 + 4 * channels * filters[index + 1]
    return Footprint(kept_values=_values(stages), parameters_m=parameters / 1e6)


def _unet(side: int) -> Footprint:
    """A convolution keeps its output, the normed and the activated one. Encoder: 2 and the residual's; decoder: 2,
    their joined input of twice the channels and the sum. At full size there are only the classes' channels."""
    last = len(FILTERS) - 1
    stages = [
        Stage(channels=channels, side=side / 2 ** (index + 1), maps=8 if index == last else 17)
        for index, channels in enumerate(FILTERS)
    ]
    return Footprint(kept_values=_values(stages), parameters_m=6.5)


SKIP_BLOCK, FIRST_BLOCK, UP_BLOCK = 4, 5, 7
"""Maps kept by a residual block: on a skip 2 convolutions, each with its normed output; a third convolution where the
channels change; and behind an upsampling the joined input of twice the channels."""


def _swinunetr(side: int) -> Footprint:
    """Residual blocks on every skip but one, and 2 Swin blocks at each of 4 stages from half the side on."""
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
    return Footprint(kept_values=_values(convolutions) + sum(attention), parameters_m=6.3)


def _unetr(side: int) -> Footprint:
    """ViT-B with attention written out, and a decoder of residual blocks whose skips are upsampled tokens."""
    tokens = (side / VIT_PATCH) ** 2
    vit = VIT_DEPTH * (VIT_WIDTH * WORDS_PER_TOKEN * tokens + VIT_HEADS * tokens**2)
    first = UNETR_FEATURES
    convolutions = [
        Stage(channels=first * 2**n, side=side / 2**n, maps=FIRST_BLOCK + UP_BLOCK) for n in range(4)
    ]
    return Footprint(kept_values=vit + _values(convolutions), parameters_m=87 + VIT_WIDTH * tokens / 1e6)
