"""Slices per second of SAM's image encoder: ours, compiled, with folded positions, and `segment_anything`'s own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.gpu.alone import Report
from benchmarks.gpu.measuring import peak_gb, seconds
from benchmarks.gpu.networks import CLASSES
from benchmarks.gpu.steps import Where
from benchmarks.speed.reference import SamEncoder
from pgsam_monai.networks.compiled import compile_blocks
from pgsam_monai.networks.precision import autocast
from pgsam_monai.networks.sam import attention


def try_speed(report: Report, where: Where, side: int, batch: int) -> None:
    """ViT-B's encoder with the same random weights, in every way."""
    from pgsam_monai.networks.samed import SAMed

    torch.manual_seed(0)
    network = SAMed(num_classes=CLASSES, image_size=side, backbone="vit_b", encoder_training="frozen")
    network = network.to(where.device).eval()
    original = SamEncoder(network.image_encoder, "vit_b", side).eval()
    image = torch.randn(batch, 3, side, side, device=where.device)
    base = _measure(report, where, "segment_anything, float32", original, image, "fp32", None)
    _measure(report, where, "ours, float32", network.image_encoder, image, "fp32", base)
    _measure(report, where, f"ours, {where.precision}", network.image_encoder, image, "auto", base)
    if where.device.type == "cuda":
        _both_positions(report, where, network.image_encoder, image, base)
    compile_blocks(network, backend=where.backend)
    _measure(
        report, where, f"ours, {where.precision}, {where.backend}", network.image_encoder, image, "auto", base
    )


def _both_positions(report: Report, where: Where, encoder: nn.Module, image: Tensor, base: float) -> None:
    """With the bias of all pairs, and with folded positions; what the network itself chooses was measured before."""
    chosen = attention.folds
    for title, folded in (("bias of all pairs", False), ("folded positions", True)):
        attention.folds = lambda query, folded=folded: folded
        _measure(report, where, f"ours, {where.precision}, {title}", encoder, image, "auto", base)
        taken = peak_gb(lambda: _encode(encoder, image, "auto", learning=True), where.device)
        report(f"peak with gradients, {title}", f"{taken:.2f} GB")
    attention.folds = chosen


def _measure(
    report: Report,
    where: Where,
    title: str,
    encoder: nn.Module,
    image: Tensor,
    precision: str,
    base: float | None,
) -> float:
    """Reports and returns slices per second, beside those of `base`."""
    took = seconds(lambda: _encode(encoder, image, precision), where.device, turns=where.turns)
    rate = len(image) / took
    beside = "" if base is None else f", {rate / base:.2f} times segment_anything's"
    report(f"{title}, {image.shape[-1]} pixels, {len(image)} at a time", f"{rate:.1f} slices/s{beside}")
    return rate


def _encode(encoder: nn.Module, image: Tensor, precision: str, *, learning: bool = False) -> None:
    with torch.set_grad_enabled(learning), autocast(image.device, precision):
        found = encoder.encode(image.requires_grad_(learning)).embedding
    if learning:
        found.float().square().mean().backward()
