"""The plain reference: the same network with the same weights, run as published code of its kind runs it.

It stands for the authors' implementation, which is not part of this project: float32 throughout, SAM's own
`segment_anything` image encoder (fused qkv layer, its windows, its decomposed relative positions), LoRA's updates
computed beside the layers that they adapt, attention by the formula without a fused kernel, and in evaluation one slice
at a time. On a quiet machine of 2 cores with AMX the authors' H-SAM (ViT-B, 224 pixels) took 0.20 s per slice so and
1.5 s per training step of 4. What it shares with ours, the decoders' code first of all, it runs as ours does, so it is
no slower than it must be.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pgsam_monai.base.backbones import BACKBONES
from pgsam_monai.inference.slices import PrecisionInferer
from pgsam_monai.networks.sam.checkpoint import fuse_qkv
from pgsam_monai.networks.sam.image_encoder import PATCH, ImageFeatures

PREFIX = "image_encoder."
WINDOW = 14
"""Side of SAM's windows in tokens."""


@contextmanager
def plain_attention() -> Iterator[None]:
    """While it lasts, torch computes softmax(QKᵀ/√d + bias)V step by step, as ``attend``'s formula says."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@torch.no_grad()
def evaluate_plainly(network: nn.Module, image: Tensor) -> Tensor:
    """Image (B, 1, H, W) → logits (B, K+1, H, W), one slice at a time in float32."""
    with plain_attention():
        return torch.cat([PrecisionInferer("fp32")(one, network) for one in image.split(1)])


def make_reference(network: nn.Module) -> nn.Module:
    """A copy of a network, adapters unmerged, with SAM's own image encoder where that computes the same.

    ``vit_tiny`` is no encoder of SAM's, and in an image smaller than a window (224 pixels) SAM attends to the padding,
    ours doesn't; both keep their encoder.
    """
    reference, backbone = copy.deepcopy(network), network.description["backbone"]
    if BACKBONES[backbone].relative_positions and network.image_size >= WINDOW * PATCH:
        reference.image_encoder = SamEncoder(reference.image_encoder, backbone, network.image_size)
    return reference


class SamEncoder(nn.Module):
    """`segment_anything`'s image encoder with the weights of one of ours, for images of one size."""

    def __init__(self, encoder: nn.Module, backbone: str, image_size: int) -> None:
        super().__init__()
        sizes = BACKBONES[backbone]
        self.vit = ImageEncoderViT(
            img_size=image_size, patch_size=PATCH, embed_dim=sizes.embed_dim, depth=sizes.depth,
            num_heads=sizes.heads, mlp_ratio=sizes.mlp_ratio, norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True, window_size=WINDOW, global_attn_indexes=sizes.global_blocks,
        )  # fmt: skip
        self.vit.load_state_dict(_fused_state(encoder))
        self.vit.to(next(encoder.parameters()).device)
        self.vit.requires_grad_(next(iter(encoder.patch_embed.parameters())).requires_grad)
        for block, ours in zip(self.vit.blocks, encoder.blocks, strict=True):
            if hasattr(ours.attn.q, "lora_A"):
                block.attn.qkv = AdaptedQkv(block.attn.qkv, query=ours.attn.q, value=ours.attn.v)

    def encode(self, image: Tensor) -> ImageFeatures:
        """Image (B, 3, H, W), normalised → embedding (B, 256, H/16, W/16), without further features."""
        return ImageFeatures(self.vit(image), ())


class AdaptedQkv(nn.Module):
    """SAM's fused layer with low-rank updates of the query and the value beside it, as SAMed puts them."""

    def __init__(self, qkv: nn.Linear, *, query: nn.Module, value: nn.Module) -> None:
        """``query`` and ``value``: layers adapted by `peft`, whose updates are taken."""
        super().__init__()
        self.qkv = qkv
        self.update_query = nn.Sequential(query.lora_A["default"], query.lora_B["default"])
        self.update_value = nn.Sequential(value.lora_A["default"], value.lora_B["default"])

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) → query, key and value (..., 3C)."""
        out = self.qkv(tokens)
        query, value = self.update_query(tokens), self.update_value(tokens)
        return out + torch.cat([query, torch.zeros_like(query), value], dim=-1)


def _fused_state(encoder: nn.Module) -> dict[str, Tensor]:
    """The weights of one of our encoders, adapters left out, by the names that `segment_anything` uses."""
    own = {
        PREFIX + key.replace(".base_layer", ""): value
        for key, value in encoder.state_dict().items()
        if "lora_" not in key
    }
    return {key.removeprefix(PREFIX): value for key, value in fuse_qkv(own).items()}


@torch.no_grad()
def liven(network: nn.Module, image: Tensor, *, spread: float = 3.0) -> None:
    """Gives random weights what training gives: adapters that do something, logits that spread, in place.

    Untouched, LoRA's updates are zero and all classes about equally likely, so that any two computations agree.

    Args:
        network: an untrained network.
        image: (B, 1, H, W).
        spread: standard deviation that each output's logits get.
    """
    for name, parameter in network.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.02)
    heads = [network.mask_decoder.output_hypernetworks_mlps]
    if hasattr(network, "second_stage"):
        heads.insert(0, network.second_stage.hyper_mlps)
    network.eval()
    for index in reversed(range(len(heads))):  # the first stage's masks guide the second's
        factor = spread / network.decode(image, None)[index].std()
        for mlp in heads[index]:
            for parameter in mlp.layers[-1].parameters():
                parameter.mul_(factor)
