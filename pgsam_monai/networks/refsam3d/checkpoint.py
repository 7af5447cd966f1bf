"""SAM's 2-D checkpoints as they go into RefSAM3D (Section 3.2: all pretrained weights are retained)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.position import crop_relative, resize_absolute
from pgsam_monai.networks.sam.checkpoint import to_our_layout

logger = logging.getLogger(__name__)

PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
"""Key prefixes of what comes from SAM, in its checkpoints and here."""

RENAMED = {
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    ),
    "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask_embed.weight",
    "mask_decoder.base_query": "mask_decoder.mask_tokens.weight",
}
"""Entries of ours outside the image encoder, and SAM's that they start from."""

TRANSFORMER = "mask_decoder.transformer."
"""Key prefix of the two-way transformer, whose entries keep their names."""

UNUSED = (
    "prompt_encoder.point_embeddings.",
    "prompt_encoder.not_a_point_embed.",
    "prompt_encoder.mask_downscaling.",
    "mask_decoder.iou_token.",
    "mask_decoder.iou_prediction_head.",
    "mask_decoder.output_upscaling.",
    "mask_decoder.output_hypernetworks_mlps.",
)
"""Key prefixes of what SAM has and RefSAM3D has not: clicks, mask prompts, quality, 2-D upscaling, masks."""

_NEW = re.compile(r"^image_encoder\.(blocks\.\d+\.adapter\.|patch_embed\.depth$|depth_embed$)")


class LoadedWeights(NamedTuple):
    """What became of each entry; the names are ours but for `unused`, SAM's."""

    loaded: tuple[str, ...]
    """as they are in the file"""
    resized: tuple[str, ...]
    """position tables brought to another size"""
    inflated: tuple[str, ...]
    """carried from two dimensions to three"""
    new: tuple[str, ...]
    """nothing in the file: they keep the values that they had"""
    unused: tuple[str, ...]
    """in the file, and of no use here"""


def load_volume_state(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> LoadedWeights:
    """Load a 2-D SAM checkpoint into a module with `image_encoder`, `prompt_encoder`, `mask_decoder`.

    The image encoder takes everything: 2-D weights as they are; the absolute position table resized; the middle of
    the relative ones, where every offset keeps its meaning, of windowed and global blocks alike, and along depth the
    mean of both; the neck into every tap's, its 3 × 3 kernel being the middle slice of 3 × 3 × 3 and 0 the others.

    Args:
        network: the module to fill; its `image_encoder` is a `VolumeEncoder`.
        state: a state dict in the layout of SAM's official checkpoints (MedSAM's is the same), or of EfficientSAM's.
        source: the file's name, for errors and the log.

    Returns:
        what was done with each entry.

    Raises:
        ValueError: a key is missing, unknown or of another shape.
    """
    own = {key: value for key, value in network.state_dict().items() if key.startswith(PARTS)}
    given = to_our_layout(state, own)
    origins = {key: origin for key in own if (origin := _origin(key))}
    _raise_if(_key_faults(origins, given), source)
    before = {key: [given[name] for name in names] for key, names in origins.items()}
    filled = {key: _carry(key, values, own[key]) for key, values in before.items()}
    _raise_if(_shape_faults(own, filled), source)
    network.load_state_dict(filled, strict=False)
    kinds = {key: _kind(key, values, filled[key]) for key, values in before.items()}
    used = {name for names in origins.values() for name in names}
    report = LoadedWeights(
        *(tuple(key for key in kinds if kinds[key] == kind) for kind in ("loaded", "resized", "inflated")),
        new=tuple(key for key in own if key not in origins),
        unused=tuple(key for key in given if key not in used),
    )
    _log(report, source)
    return report


def fit_relative(table: Tensor, rows: int) -> Tensor:
    """The middle `rows` of a relative position table (2n - 1, C); offsets beyond it are as its outermost one."""
    missing = rows - table.shape[0]
    if missing <= 0:
        return crop_relative(table, rows)
    return F.pad(table.t().unsqueeze(0), (missing // 2, missing // 2), mode="replicate").squeeze(0).t()


def inflate(kernel: Tensor, depth: int) -> Tensor:
    """A 2-D kernel (out, in, k, k) in the middle of `depth` slices of zeros: (out, in, k, k, depth)."""
    inflated = kernel.new_zeros(*kernel.shape, depth)
    inflated[..., depth // 2] = kernel
    return inflated


def _origin(key: str) -> tuple[str, ...]:
    """The checkpoint's entries that ours is made of; none for a new one."""
    if key in RENAMED:
        return (RENAMED[key],)
    if key.startswith(TRANSFORMER):
        return (key,)
    if not key.startswith("image_encoder.") or _NEW.match(key):
        return ()
    if key.endswith(".rel_pos_d"):
        return tuple(f"{key.removesuffix('d')}{axis}" for axis in "hw")
    return (re.sub(r"\.necks\.\d+\.", ".neck.", key),)


def _carry(key: str, values: list[Tensor], own: Tensor) -> Tensor:
    """Our entry `key` made of the checkpoint's."""
    if key == "mask_decoder.base_query":
        return values[0][:1]
    if key == "image_encoder.pos_embed":
        return resize_absolute(values[0].float(), tuple(own.shape[1:3]))
    if ".rel_pos_" in key:
        return torch.stack([fit_relative(table.float(), own.shape[0]) for table in values]).mean(0)
    if ".necks." in key and values[0].ndim == 4:
        return inflate(values[0], own.shape[-1])
    return values[0]


def _kind(key: str, before: list[Tensor], after: Tensor) -> str:
    if len(before) > 1 or after.ndim > before[0].ndim:
        return "inflated"
    return "loaded" if key in RENAMED or after.shape == before[0].shape else "resized"


def _key_faults(origins: Mapping[str, tuple[str, ...]], given: Mapping[str, Tensor]) -> list[str]:
    wanted = {name for names in origins.values() for name in names}
    spare = tuple(RENAMED.values()) + UNUSED + (TRANSFORMER,)
    missing = [f"'{key}' is missing" for key in sorted(wanted - given.keys())]
    unknown = [
        f"'{key}' is unknown" for key in sorted(given.keys() - wanted) if not key.startswith(spare)
    ]  # fmt: skip
    return missing + unknown


def _shape_faults(own: Mapping[str, Tensor], filled: Mapping[str, Tensor]) -> list[str]:
    return [
        f"'{key}' would have shape {tuple(value.shape)}, wanted {tuple(own[key].shape)}"
        for key, value in filled.items()
        if value.shape != own[key].shape
    ]


def _raise_if(faults: list[str], source: str) -> None:
    if faults:
        raise UserFault(
            f"Weights '{source}' don't fit this network ({len(faults)} entries differ): "
            f"{'; '.join(faults[:4])}. Choose the weights that belong to the backbone, "
            "for example sam_vit_b for vit_b."
        )


def _log(report: LoadedWeights, source: str) -> None:
    """One line; the same parameters of all blocks are named once."""
    new = dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in report.new)
    logger.info(
        "RefSAM3D: from '%s' %d entries as they are, %d resized, %d carried to three dimensions; new: %s.",
        source, len(report.loaded), len(report.resized), len(report.inflated), ", ".join(new) or "nothing",
    )  # fmt: skip
