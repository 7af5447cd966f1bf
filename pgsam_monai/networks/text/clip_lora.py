"""Which layers of a CLIP tower LoRA adapts, and making sure that it did."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pgsam_monai.networks.adaptation.lora import add_lora

LORA_LAYERS = (
    ("q", "v"),  # open_clip's own transformers once their attention is split; T5
    ("query", "value"),  # BERT, RoBERTa: BiomedCLIP's text tower
    ("q_proj", "v_proj"),  # M2M100; timm's EVA
    ("qkv",),  # timm's vision transformers, queries, keys and values in one layer
)
"""Names of the linear layers to adapt, by kind of attention; the first kind found in a tower is taken."""


def adapt_tower(tower: nn.Module, *, rank: int, example: Tensor, who: str) -> None:
    """Freeze `tower` and add LoRA to its attention, in place.

    Args:
        tower: an image or a text tower.
        rank: LoRA's rank.
        example: an input, passed once to see that every adapter takes part.
        who: what to call the tower in errors.

    Raises:
        ValueError: no attention that LoRA can adapt, or a rank below 1.
    """
    layers = {
        name.rpartition(".")[2] for name, child in tower.named_modules() if isinstance(child, nn.Linear)
    }
    targets = next((names for names in LORA_LAYERS if layers.issuperset(names)), None)
    if targets is None:
        raise _unsuitable(who, tower)
    add_lora(tower, rank=rank, targets=targets)
    if _idle_adapters(tower, example):
        raise _unsuitable(who, tower)


def _idle_adapters(tower: nn.Module, example: Tensor) -> list[str]:
    """Adapters that a pass leaves out: some towers read a layer's weight without calling the layer."""
    idle = {name for name, child in tower.named_modules() if hasattr(child, "lora_A")}
    hooks = [
        child.register_forward_hook(lambda *_, name=name: idle.discard(name))
        for name, child in tower.named_modules()
        if name in idle
    ]
    training = tower.training
    with torch.no_grad():
        tower.eval()(example)
    tower.train(training)
    for hook in hooks:
        hook.remove()
    return sorted(idle)


def _unsuitable(who: str, tower: nn.Module) -> ValueError:
    return ValueError(
        f"{who} ({type(tower).__name__}) has no attention layers that LoRA can adapt; "
        "choose clip_training 'full' or 'frozen', or leave this tower out with clip_towers."
    )
