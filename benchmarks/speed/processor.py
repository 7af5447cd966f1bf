"""What the processor can do, so that a time can be compared with arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from speed.reference import plain_attention
from speed.timing import measure

GEMM = (1568, 768, 3072)
"""Rows, inner size, columns: the first layer of ViT-B's MLP for 8 slices at 224 pixels."""
REPEATS = 10


def describe_processor() -> str:
    """Which instructions for small numbers the CPU has."""
    offered = {
        "AVX-512": torch.cpu._is_avx512_supported(),
        "AVX-512 bfloat16": torch.cpu._is_avx512_bf16_supported(),
        "AMX tiles": torch.cpu._is_amx_tile_supported(),
        "AMX float16": torch.cpu._is_amx_fp16_supported(),
    }
    return "CPU: " + ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in offered.items()) + "."


def gemm_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of the matrix product ``GEMM``, the best of some."""
    rows, inner, columns = GEMM
    left = torch.rand(rows, inner, device=device, dtype=dtype)
    right = torch.rand(inner, columns, device=device, dtype=dtype)
    seconds = min(measure(lambda: left @ right, device) for _ in range(REPEATS))
    return 2 * rows * inner * columns / seconds


@torch.no_grad()
def encoder_operations(network: nn.Module, image: Tensor) -> int:
    """Floating-point operations of the image encoder's matrix products and convolutions for image (1, 1, H, W)."""
    with plain_attention(), FlopCounterMode(display=False) as counter:
        network.image_encoder.encode(network.normalise(image))
    return counter.get_total_flops()


def print_arithmetic(network: nn.Module, image: Tensor) -> None:
    """The processor, its rates, and the time that the encoder's operations would take at these."""
    device = image.device
    rates = {
        name: gemm_rate(dtype, device) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    operations = encoder_operations(network, image[:1])
    shape = "({0}, {1}) @ ({1}, {2})".format(*GEMM)
    if device.type == "cpu":
        print(describe_processor())
    print(f"{shape}: " + ", ".join(f"{rate / 1e9:.0f} GFLOP/s {name}" for name, rate in rates.items()) + ".")
    times = ", ".join(f"{operations / rate:.4f} s in {name}" for name, rate in rates.items())
    print(f"At these rates the image encoder's {operations / 1e9:.1f} GFLOP per slice would take {times}.\n")
