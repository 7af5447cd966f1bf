"""Weights that are measured: published ones by name, or a file of a training under way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from monai.transforms import Compose

from pgsam_monai.base.files import sha256_of
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.zero_shot import load_zero_shot, zero_shot_preprocessing
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.sam.network import SAM_MEAN, SAM_STD
from pgsam_monai.weights.files import resolve_weights
from prompting.sets import KeepSlicesd, MeasuredSet

FILE_SIZE = 256
"""pixels, of a file's network where nobody says"""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Weights at a size of the network's input."""

    weights: str
    """a name of `pgsam weights list`, or a file"""
    image_size: int | None
    """side in pixels; None: what the weights were trained for"""
    backbone: str = "vit_tiny"
    """of a file"""
    unit_scale: bool = False
    """of a file: whether it was trained on intensities from 0 to 1 instead of SAM's pixel statistics"""

    @property
    def known(self) -> bool:
        """Whether it goes by a name."""
        return self.weights in KNOWN_WEIGHTS

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.image_size or (KNOWN_WEIGHTS[self.weights].image_size if self.known else FILE_SIZE)

    @property
    def label(self) -> str:
        """What folders and tables call it: of a file its folder's name and its own."""
        path = Path(self.weights)
        name = self.weights if self.known else f"{path.resolve().parent.name}_{path.stem}"
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}@{self.size}"

    @property
    def file(self) -> Path:
        return resolve_weights(self.weights)

    def digest(self) -> str:
        """SHA-256 of the weights' file."""
        return sha256_of(self.file)


def load_contender(
    contender: Contender, measured: MeasuredSet, *, precision: str, slices_per_case: int | None
) -> PromptModel:
    """What answers prompts about a set's structures, on the CPU.

    Args:
        contender: the weights.
        measured: the set.
        precision: see `networks.precision.choose_dtype`.
        slices_per_case: on at most so many slices per case; None for all.
    """
    options = {"window": measured.window, "plane": measured.plane}
    if contender.known:
        model = load_zero_shot(
            contender.weights, measured.structures, image_size=contender.size, device="cpu",
            precision=precision, **options,
        )  # fmt: skip
    else:
        model = load_file(contender, measured.structures, precision=precision, **options)
    if slices_per_case is None:
        return model
    steps = [*model.preprocessing.transforms, KeepSlicesd("label", slices_per_case, allow_missing_keys=True)]
    return replace(model, preprocessing=Compose(steps))


def load_file(
    contender: Contender,
    structures: Mapping[str, int],
    *,
    precision: str,
    window: tuple[float, float] | None = None,
    plane: str | None = None,
    device: str = "cpu",
) -> PromptModel:
    """As `load_zero_shot`, of weights in a file of drawn_tiny's kind: SAM's layout, for the contender's backbone."""
    unit, values = contender.unit_scale, [0, *structures.values()]
    network = MedSA(
        num_classes=len(structures), image_size=contender.size, backbone=contender.backbone,
        weights=str(contender.file), encoder_training="frozen", pixel_mean=(0.0,) * 3 if unit else SAM_MEAN,
        pixel_std=(1.0,) * 3 if unit else SAM_STD, prompt_maps=True,
    )  # fmt: skip
    return PromptModel(
        network=network.to(device).eval(),
        preprocessing=zero_shot_preprocessing(values, window, plane),
        names=list(structures),
        values=values,
        image_size=contender.size,
        precision=precision,
        device=torch.device(device),
        source=contender.label,
        knows_everything=False,
        trained_with_masks=True,
    )
