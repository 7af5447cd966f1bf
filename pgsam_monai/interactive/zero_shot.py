"""Published weights as they are: no bundle, no plan, no training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import CastToTyped, Compose, MapTransform, Orientationd, ScaleIntensityRanged

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.planes import PLANES, choose_plane
from pgsam_monai.bundle import Bundle
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.sam.network import SAM_MEAN, SAM_STD
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.transforms import MapLabelsd, ReadCased, ScalePercentilesd
from pgsam_monai.weights.files import KNOWN_WEIGHTS, default_weights_dir, resolve_weights

AXCODES = {"axial": "PLS", "coronal": "ILP", "sagittal": "IPR"}
"""Rows, columns and slices as radiologists read them, as plans have them."""


def load_zero_shot(
    weights: str,
    labels: Sequence[str] | Mapping[str, int] = ("object",),
    *,
    window: tuple[float, float] | None = None,
    plane: str | None = None,
    image_size: int | None = None,
    channels: int = 1,
    precision: str = "auto",
    device: str | None = None,
    weights_dir: str | None = None,
    engine: str = TORCH,
) -> PromptModel:
    """SAM, or a relative of it, that answers prompts and was trained on nothing here.

    Args:
        weights: a name of `pgsam weights list`.
        labels: what the user calls the classes, with the values 1, 2, … or those given. The network knows none of
            them: it answers prompts.
        window: grey values that become 0 and 1, for CT in HU, such as (-160, 240); None: percentiles 0.5 and 99.5 of
            each image.
        plane: "axial", "coronal" or "sagittal", in which slices lie; None: across the largest spacing, axial among
            equals. Pictures lie as they are.
        image_size: side of the network's square input, pixels, a multiple of 16; None: what the weights were trained
            for.
        channels: of the images; 1, or 3 for colours.
        precision: see `networks.precision.choose_dtype`.
        device: "cpu", "cuda", …; by default a GPU if there is one.
        weights_dir: where weights are kept; None for the default folder.
        engine: what encodes images, see `runtime.encoder.exported_encoder`.

    Raises:
        UserFault: unknown weights, or they are neither here nor obtainable.
        ValueError: an unknown plane.
    """
    if plane is not None and plane not in AXCODES:
        raise UserFault(f"plane must be one of {', '.join(AXCODES)}, got {plane!r}.")
    named = dict(labels) if isinstance(labels, Mapping) else {name: n for n, name in enumerate(labels, 1)}
    record, values = _find(weights), [0, *named.values()]
    size, unit = image_size or record.image_size, record.unit_scale
    network = MedSA(
        num_classes=len(named), image_size=size, in_channels=channels, backbone=record.backbone, weights=record.name,
        weights_dir=weights_dir, encoder_training="frozen", pixel_mean=(0.0,) * 3 if unit else SAM_MEAN,
        pixel_std=(1.0,) * 3 if unit else SAM_STD, prompt_maps=record.prompt_maps,
    )  # fmt: skip
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = PromptModel(
        network=network.to(place).eval(),
        preprocessing=zero_shot_preprocessing(values, window, plane),
        names=list(named),
        values=values,
        image_size=size,
        precision=precision,
        device=place,
        source=f"'{record.name}' as published",
        knows_everything=False,
        trained_with_masks=not record.prompts,
        obeys_clicks=not record.prompts,
    )
    if engine == TORCH:
        return model
    file = resolve_weights(record.name, weights_dir=weights_dir)
    return model.with_encoder(encoder_folder(record.name, weights_dir), file, engine, record.name)


def encoder_folder(weights: str, weights_dir: str | None = None) -> Path:
    """Where the exported encoder of published weights lies."""
    return Path(weights_dir or default_weights_dir()) / f"{weights}_encoder"


def stand_in(bundle: Bundle, weights: str) -> PromptModel:
    """Weights that answer prompts for a bundle whose network takes none: with its classes, and its CT window."""
    model = load_zero_shot(weights, bundle.labels, window=bundle.window, device=str(bundle.device))
    return replace(model, values=bundle.decisions["labels"], source=str(bundle))


def load_corrector(weights: str, bundle: Bundle) -> PromptModel:
    """Weights that answer clicks about one thing at a time, on a bundle's device."""
    return load_zero_shot(weights, device=str(bundle.device))


class OrientSlicesd(MapTransform):
    """Turns volumes so that slices of a plane lie along the last axis, rows and columns as radiologists read them.

    Args:
        keys: MetaTensors (C, i, j, k).
        plane: of `AXCODES`; None: across the largest spacing. Pictures stay as they are.
    """

    def __init__(self, keys: KeysCollection, plane: str | None = None, allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.plane = plane

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        first = d[next(self.key_iterator(d))]
        found = choose_plane(tuple(first.shape[1:]), first.affine.numpy())
        if found == PLANES[-1]:
            return d
        axcodes = AXCODES[self.plane or found]
        return Orientationd(self.keys, axcodes=axcodes, labels=None, allow_missing_keys=True)(d)


def _find(weights: str):
    if weights in KNOWN_WEIGHTS:
        return KNOWN_WEIGHTS[weights]
    known = f"Weights must be one of {', '.join(KNOWN_WEIGHTS)}"
    raise UserFault(f"{known}, got {weights!r}.{did_you_mean(weights, KNOWN_WEIGHTS)}")


def zero_shot_preprocessing(
    values: Sequence[int], window: tuple[float, float] | None, plane: str | None
) -> Compose:
    """What images and label maps pass before such a network; the label values of all classes come first, the others
    are those of `load_zero_shot`."""
    both = {"keys": ["image", "label"], "allow_missing_keys": True}
    scaling = ScalePercentilesd("image")
    if window is not None:
        low, high = window
        scaling = ScaleIntensityRanged("image", a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True)
    return Compose(
        [
            ReadCased(**both),
            OrientSlicesd(plane=plane, **both),
            scaling,
            MapLabelsd("label", values, allow_missing_keys=True),
            CastToTyped("image", dtype=torch.float16),
        ]
    )
