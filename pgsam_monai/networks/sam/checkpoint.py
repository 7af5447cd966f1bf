"""SAM's official checkpoints and those of its light relatives, as they go into our networks at any input size."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.position import fit_table

REINITIALISED = (
    "mask_decoder.mask_tokens.",
    "mask_decoder.output_hypernetworks_mlps.",
    "mask_decoder.iou_prediction_head.",
)
"""Key prefixes that depend on the number of masks: SAM's three don't carry over to K + 1 classes."""
SKIPS = "mask_decoder.skips."
"""What joins the features of a convolutional stem, which `skip_features` may leave out."""
SAM_LAYERS = 2
"""Of SAM's two-way transformer: weights fill so many, and a deeper one's further layers keep their random values."""

_QKV = re.compile(r"^(?P<stem>.*\.attn)\.qkv\.(?P<kind>weight|bias)$")
_QUERY = re.compile(r"^(?P<stem>image_encoder\..*\.attn)\.q\.(?P<kind>weight|bias)$")


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn every fused `attn.qkv` entry into `attn.q`, `attn.k` and `attn.v`; keep the others."""
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
    """The inverse of `split_qkv`: the key layout of SAM's official checkpoints."""
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


def load_sam_state(
    parts: nn.Module, state: Mapping[str, Tensor], *, source: str, keep_masks: bool = False
) -> None:
    """Load a SAM checkpoint into a module with `image_encoder`, `prompt_encoder`, `mask_decoder`.

    Absolute and global relative position tables are resized to the module's. Mask tokens, hyper-networks and the
    quality head keep their random values (as SAMed's authors do) unless `keep_masks`, and so does what the
    checkpoint's kind does not have: an input mixer, EfficientSAM's mask prompts, layers of a deeper decoder. Numbers of
    16 bits become the module's. A module without skip features leaves the checkpoint's out.

    Args:
        parts: the module to fill, before any adapter is added.
        state: a state dict in the layout of SAM's official checkpoints (MedSAM's is the same, drawn_tiny's has q, k and
            v apart), of MobileSAM's and LiteMedSAM's, or of EfficientSAM's.
        source: the file's name, for errors.
        keep_masks: load what depends on the number of masks, too; the module then has SAM's four.

    Raises:
        ValueError: a key is missing, unexpected or of another shape.
    """
    own = {key: value for key, value in parts.state_dict().items() if _is_sam_key(key)}
    anew = _further_layers(own) + (() if keep_masks else REINITIALISED)
    wanted = {key for key in own if not key.startswith(anew)}
    unused = anew if any(key.startswith(SKIPS) for key in own) else (*anew, SKIPS)
    given = {key: value for key, value in to_our_layout(state, own).items() if not key.startswith(unused)}
    given = {key: fit_table(key, value, own.get(key)) for key, value in given.items()}
    faults = _faults(own, wanted, given)
    if faults:
        raise UserFault(
            f"Weights '{source}' don't fit this network ({len(faults)} entries differ): "
            f"{'; '.join(faults[:4])}. Choose the weights that belong to the backbone, "
            "for example sam_vit_b for vit_b."
        )
    parts.load_state_dict(given, strict=False)


def _further_layers(own: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Key prefixes of the two-way transformer's layers behind those that SAM has."""
    found = (re.match(r"mask_decoder\.transformer\.layers\.(\d+)\.", key) for key in own)
    return tuple({match[0] for match in found if match and int(match[1]) >= SAM_LAYERS})


def to_our_layout(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Any of the known checkpoints, told apart by their keys, with our keys; `own` are our network's entries."""
    state = state["model"] if set(state) == {"model"} else state
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return from_tiny_vit(state)
    if "prompt_encoder.invalid_points.weight" in state:
        return from_efficient_sam(state, own)
    return split_qkv(state)


def from_tiny_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MobileSAM's and LiteMedSAM's layout, TinyViT's own → that of `timm`'s parts.

    There a stage ends with the patch merging that here begins the next one. MobileSAM's file also holds the
    ImageNet classifier of its TinyViT, which nothing uses.
    """
    renamed = {}
    for key, value in state.items():
        if key.startswith(("image_encoder.norm_head.", "image_encoder.head.")):
            continue
        if key.startswith("image_encoder."):
            key = re.sub(r"layers\.(\d+)\.downsample", lambda m: f"stages.{int(m[1]) + 1}.downsample", key)
            key = key.replace("layers.", "stages.").replace(".c.", ".conv.")
            key = key.replace("embed.seq.0.", "embed.conv1.").replace("embed.seq.2.", "embed.conv2.")
        renamed[key] = value
    return renamed


def from_efficient_sam(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientSAM's layout → ours, such that the same tokens give the same masks.

    It knows no negative clicks (theirs is the bare position), so their embedding starts at 0, and no mask prompts:
    "no mask" becomes 0, and the layers that encode a mask keep our random values. Its "not a point" lies at pixel
    (-1, -1) of its 1024 where SAM's lies nowhere; that position goes into the embedding.
    """
    prompts, rest = _partition(state, "prompt_encoder.")
    renamed = {_efficient_key(key): value for key, value in split_qkv(rest).items()}
    table = "image_encoder.pos_embed"
    grid = own[table].shape[1:3] if table in own else (14, 14)
    renamed[table] = _grid_table(renamed[table], tuple(grid))
    frequencies = prompts["pe_layer.positional_encoding_gaussian_matrix"]
    outside = 2 * torch.pi * (2 * torch.tensor([-0.5, -0.5]) / 1024 - 1) @ frequencies
    positive = prompts["point_embeddings.weight"]
    renamed |= {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": frequencies,
        "prompt_encoder.not_a_point_embed.weight": prompts["invalid_points.weight"]
        + torch.cat([outside.sin(), outside.cos()]),
        "prompt_encoder.point_embeddings.0.weight": torch.zeros_like(positive),
        "prompt_encoder.point_embeddings.1.weight": positive,
        "prompt_encoder.point_embeddings.2.weight": prompts["bbox_top_left_embeddings.weight"],
        "prompt_encoder.point_embeddings.3.weight": prompts["bbox_bottom_right_embeddings.weight"],
        "prompt_encoder.no_mask_embed.weight": torch.zeros_like(positive),
    }
    return renamed | {k: v for k, v in own.items() if k.startswith("prompt_encoder.mask_downscaling.")}


def _partition(state: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Entries under `prefix`, without it, and the others."""
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, {key: value for key, value in state.items() if not key.startswith(prefix)}


_EFFICIENT_KEYS = (
    (r"^(image_encoder\.blocks\.\d+\.mlp)\.fc(\d)\.", r"\1.lin\2."),
    (r"(\.transformer\.layers\.\d+\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"(\.transformer\.layers\.\d+\.mlp)\.fc\.", r"\1.lin2."),
    (r"(_mlps\.\d+|prediction_head)\.layers\.(\d)\.0\.", r"\1.layers.\2."),
    (r"(_mlps\.\d+|prediction_head)\.fc\.", r"\1.layers.2."),
    (r"final_output_upscaling_layers\.0\.(\d)\.", r"output_upscaling.\1."),
    (r"final_output_upscaling_layers\.1\.0\.", r"output_upscaling.3."),
)


def _efficient_key(key: str) -> str:
    for pattern, ours in _EFFICIENT_KEYS:
        key = re.sub(pattern, ours, key)
    return key


def _grid_table(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Its (1, 1 + n², C), the first a class token's → (1, rows, columns, C), resized as EfficientSAM does."""
    side = math.isqrt(table.shape[1] - 1)
    square = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, C, n, n)
    if (side, side) != grid:
        square = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return square.permute(0, 2, 3, 1)


def _is_sam_key(key: str) -> bool:
    return key.startswith(("image_encoder.", "prompt_encoder.", "mask_decoder."))


def _faults(own: Mapping[str, Tensor], wanted: set[str], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"'{key}' is missing" for key in sorted(wanted - given.keys())]
    unexpected = [f"'{key}' is unknown" for key in sorted(given.keys() - wanted)]
    shapes = [
        f"'{key}' has shape {tuple(given[key].shape)}, wanted {tuple(own[key].shape)}"
        for key in sorted(wanted & given.keys())
        if given[key].shape != own[key].shape
    ]
    return shapes + missing + unexpected
