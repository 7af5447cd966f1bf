"""The clock, and what it is put to: an evaluation, a training step, the parts of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import Tensor, nn

from pgsam_monai.inference.slices import PrecisionInferer

PARTS = {
    "image encoder": ("image_encoder", "encode"),
    "CLIP image tower": ("clip", "encode_image"),
    "aligner": ("aligner", "forward"),
}
STAGES = {"first stage": ("mask_decoder", "decode"), "second stage": ("second_stage", "forward")}
DECODER = {"decoder": ("mask_decoder", "forward")}
"""By title: the module and the method that are timed where a network has them; the stages if it has a second one."""
ENCODER = "image encoder"
TEXTS = "texts, once per model"


def measure(call: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done what `call` asks for."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def evaluate(network: nn.Module, image: Tensor, precision: str = "auto") -> Tensor:
    """Image (B, 1, H, W) → logits (B, K+1, H, W), as a bundle's evaluation computes them."""
    return PrecisionInferer(precision)(image, network)


def make_step(
    network: nn.Module, image: Tensor, label: Tensor, *, precision: str = "auto"
) -> Callable[[], None]:
    """One training step as in a bundle's train.json: image (B, 1, H, W), label of the same shape."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.1)
    loss = DeepSupervisionLoss(
        DiceCELoss(
            to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5,
            lambda_ce=0.2, lambda_dice=0.8,
        ),
        weight_mode="same",
    )  # fmt: skip
    infer = PrecisionInferer(precision)

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        loss(
            infer(image, network, label=label), label
        ).backward()  # networks that need no label don't read it
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step


@torch.no_grad()
def time_parts(
    network: nn.Module, call: Callable[[], object], device: torch.device, *, slices: int
) -> dict[str, float]:
    """Seconds per slice of each part while `call` evaluates `slices`, and of encoding the texts, once per model."""
    spent: dict[str, float] = {}
    with watched(network, spent, device):
        call()
    spent = {part: seconds / slices for part, seconds in spent.items()}
    if getattr(network, "texts", None) is not None:
        tokens = network.texts.tokens
        spent[TEXTS] = measure(lambda: network.clip.encode_text(tokens), device)
    return spent


@contextmanager
def watched(network: nn.Module, spent: dict[str, float], device: torch.device) -> Iterator[None]:
    """While it lasts, calls of the parts' methods add their seconds to `spent`."""

    def watch(name: str, method: Callable) -> Callable:
        def call(*given: object, **named: object) -> object:
            kept = []
            spent[name] = spent.get(name, 0.0) + measure(lambda: kept.append(method(*given, **named)), device)
            return kept[0]

        return call

    found = []
    parts = PARTS | (STAGES if hasattr(network, "second_stage") else DECODER)
    for name, (path, method) in parts.items():
        module = getattr(network, path, None)
        if hasattr(module, method):
            setattr(module, method, watch(name, getattr(module, method)))
            found.append((module, method))
    yield
    for module, method in found:
        delattr(module, method)  # the class's own is seen again
