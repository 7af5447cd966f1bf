"""The one place that chooses what networks compute on, and in which number type."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from pgsam_monai.base.errors import UserFault

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def usable_device(device: str | torch.device) -> torch.device:
    """A device that tensors can lie on.

    Raises:
        UserFault: no device is called so, or none such is here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's own for either
        raise UserFault(
            f"There is no device '{device}' here; take cpu, or cuda on a machine with a GPU and a torch for it."
        ) from error
    return found


def choose_dtype(device: str | torch.device, precision: str = "auto") -> torch.dtype | None:
    """The autocast type, or None for plain float32.

    "auto": bfloat16 where the hardware computes in it (no loss scaling needed), else float16 on a GPU (the
    trainer's `amp` scales the loss) and float32 on a CPU.

    Raises:
        ValueError: unknown precision, or float16 on a CPU, which trains nowhere.
    """
    kind = torch.device(device).type
    if precision != "auto":
        if precision not in PRECISIONS:
            raise UserFault(f"precision must be auto, {', '.join(PRECISIONS)}, got '{precision}'.")
        if precision == "fp16" and kind == "cpu":
            raise UserFault("precision fp16 needs a GPU; on a CPU choose bf16 or fp32.")
        return PRECISIONS[precision]
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if kind == "cpu" and _cpu_computes_bf16() else None


def scales_loss(device: str | torch.device, precision: str = "auto") -> bool:
    """Whether gradients need the scaling that MONAI's engines call `amp`: float16's alone do."""
    return choose_dtype(device, precision) == torch.float16


def autocast(device: str | torch.device, precision: str = "auto") -> AbstractContextManager:
    """A context in which a network's matrix products run in `choose_dtype`'s type."""
    dtype = choose_dtype(device, precision)
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def full_precision(device: torch.device, *, wanted: bool = True) -> AbstractContextManager:
    """A context without autocast inside one with it, where `wanted`; nothing where none is on, as in exports."""
    if not (wanted and torch.is_autocast_enabled(device.type)):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _cpu_computes_bf16() -> bool:
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    # Asked last: builds for other processors lack the operator.
    return in_hardware and torch.ops.mkldnn._is_mkldnn_bf16_supported()
