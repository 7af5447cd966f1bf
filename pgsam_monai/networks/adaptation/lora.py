"""Low-rank adaptation of attention layers, through `peft`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pgsam_monai.base.errors import UserFault

TARGETS = ("q", "v")
"""The layers that SAMed, H-SAM and PG-SAM adapt in every block."""


def add_lora(encoder: nn.Module, *, rank: int, targets: Sequence[str] = TARGETS) -> None:
    """Freeze `encoder` and give each layer named in `targets` a trainable update of rank `rank`, in place.

    The update starts at zero (A kaiming-uniform, B zero), has no bias and is not scaled.

    Args:
        encoder: any module.
        rank: at least 1.
        targets: last parts of the names of linear layers.

    Raises:
        ValueError: `rank` is less than 1, or no layer has such a name.
    """
    if rank < 1:
        raise UserFault(f"rank must be at least 1, got {rank}; without LoRA use encoder_training 'frozen'.")
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import, and only needed here

    config = LoraConfig(target_modules=list(targets), r=rank, lora_alpha=rank, lora_dropout=0.0, bias="none")
    inject_adapter_in_model(config, encoder)


def merge_lora(module: nn.Module) -> None:
    """Fold every adapter inside `module` into the layer that it adapts, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
        if hasattr(parent, "peft_config"):
            del parent.peft_config
