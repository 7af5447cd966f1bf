"""Low-rank adaptation of the image encoder's queries and values, through `peft`."""

from __future__ import annotations

from torch import nn

TARGETS = ("q", "v")
"""The layers that SAMed, H-SAM and PG-SAM adapt in every block."""


def add_lora(encoder: nn.Module, *, rank: int) -> None:
    """Freeze ``encoder`` and give each block's q and v layers trainable updates of rank ``rank``, in place.

    The update starts at zero (A kaiming-uniform, B zero), has no bias and is not scaled.

    Raises:
        ValueError: ``rank`` is less than 1.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}; without LoRA use encoder_training 'frozen'.")
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import, and only needed here

    config = LoraConfig(target_modules=list(TARGETS), r=rank, lora_alpha=rank, lora_dropout=0.0, bias="none")
    inject_adapter_in_model(config, encoder)


def merge_lora(module: nn.Module) -> None:
    """Fold every adapter inside ``module`` into the layer that it adapts, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
        if hasattr(parent, "peft_config"):
            del parent.peft_config
