"""SAM's official checkpoints: their key layout, and carrying their tables to another input size."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pgsam_monai.networks.sam.position import resize_absolute, resize_relative

REINITIALISED = (
    "mask_decoder.mask_tokens.",
    "mask_decoder.output_hypernetworks_mlps.",
    "mask_decoder.iou_prediction_head.",
)
"""Key prefixes that depend on the number of masks: SAM's three don't carry over to K + 1 classes."""

_QKV = re.compile(r"^(?P<stem>.*\.attn)\.qkv\.(?P<kind>weight|bias)$")
_QUERY = re.compile(r"^(?P<stem>image_encoder\..*\.attn)\.q\.(?P<kind>weight|bias)$")


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn every fused ``attn.qkv`` entry into ``attn.q``, ``attn.k`` and ``attn.v``; keep the others."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _QKV.match(key)
        if match is None:
            out[key] = value
            continue
        for name, part in zip("qkv", value.chunk(3), strict=True):
            out[f"{match['stem']}.{name}.{match['kind']}"] = part.clone()
    return out


def fuse_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``split_qkv``: the key layout of SAM's official checkpoints."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _QUERY.match(key)
        if match is None:
            if not re.match(r"^image_encoder\..*\.attn\.[kv]\.(weight|bias)$", key):
                out[key] = value
            continue
        parts = [state[f"{match['stem']}.{name}.{match['kind']}"] for name in "qkv"]
        out[f"{match['stem']}.qkv.{match['kind']}"] = torch.cat(parts)
    return out


def load_sam_state(parts: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a SAM checkpoint into a module with ``image_encoder``, ``prompt_encoder``, ``mask_decoder``.

    Absolute and global relative position tables are resized to the module's; mask tokens, hyper-networks and
    the quality head keep their random values (as SAMed's authors do), and so does what SAM does not have
    (an input mixer).

    Args:
        parts: the module to fill, before any adapter is added.
        state: a state dict in the layout of SAM's official checkpoints.
        source: the file's name, for errors.

    Raises:
        ValueError: a key is missing, unexpected or of another shape.
    """
    own = {key: value for key, value in parts.state_dict().items() if _is_sam_key(key)}
    wanted = {key for key in own if not key.startswith(REINITIALISED)}
    given = {key: value for key, value in split_qkv(state).items() if not key.startswith(REINITIALISED)}
    given = {key: _fit_table(key, value, own.get(key)) for key, value in given.items()}
    faults = _faults(own, wanted, given)
    if faults:
        raise ValueError(
            f"Weights '{source}' don't fit this network ({len(faults)} entries differ): "
            f"{'; '.join(faults[:4])}. Choose the weights that belong to the backbone, "
            "for example sam_vit_b for vit_b."
        )
    parts.load_state_dict(given, strict=False)


def _is_sam_key(key: str) -> bool:
    return key.startswith(("image_encoder.", "prompt_encoder.", "mask_decoder."))


def _fit_table(key: str, value: Tensor, own: Tensor | None) -> Tensor:
    """Resize a position table to the network's own shape; anything else as it is."""
    if own is None or own.shape == value.shape:
        return value
    if key.endswith("pos_embed") and own.shape[-1] == value.shape[-1]:
        return resize_absolute(value.float(), tuple(own.shape[1:3]))
    if key.endswith((".rel_pos_h", ".rel_pos_w")) and own.shape[-1] == value.shape[-1]:
        return resize_relative(value.float(), own.shape[0])
    return value


def _faults(own: Mapping[str, Tensor], wanted: set[str], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"'{key}' is missing" for key in sorted(wanted - given.keys())]
    unexpected = [f"'{key}' is unknown" for key in sorted(given.keys() - wanted)]
    shapes = [
        f"'{key}' has shape {tuple(given[key].shape)}, wanted {tuple(own[key].shape)}"
        for key in sorted(wanted & given.keys())
        if given[key].shape != own[key].shape
    ]
    return shapes + missing + unexpected
