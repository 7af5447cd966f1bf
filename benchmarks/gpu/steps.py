"""What a GPU is asked, a function per step; each reports rows (what, result)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.alone import Report
from benchmarks.gpu.measuring import milliseconds, peak_gb, seconds
from benchmarks.gpu.networks import CLASSES, FULL, Size, make_batch, make_learning, make_network, make_step
from benchmarks.gpu.syncs import cuda_syncs, host_reads
from pgsam_monai.inference.slices import PrecisionInferer
from pgsam_monai.networks.compiled import compile_blocks
from pgsam_monai.networks.pgsam.deformable import deformable_convolution, sampled_convolution
from pgsam_monai.networks.precision import choose_dtype
from preprocess.rules.memory import CONTEXT_GB, fixed_gb, image_gb


@dataclass(frozen=True, kw_only=True)
class Where:
    """On what, how large, and how often."""

    device: torch.device
    size: Size
    turns: int
    backend: str
    """what makes code of captured graphs"""

    @property
    def precision(self) -> str:
        return str(choose_dtype(self.device) or torch.float32).removeprefix("torch.")


def describe(report: Report, where: Where) -> None:
    """The machine."""
    if where.device.type == "cuda":
        about = torch.cuda.get_device_properties(where.device)
        report(
            "device",
            f"{about.name}, {about.total_memory / 1e9:.0f} GB, capability {about.major}.{about.minor}",
        )
    else:
        report("device", f"CPU, {torch.get_num_threads()} thread(s)")
    report("torch", f"{torch.__version__}, CUDA {torch.version.cuda}; precision auto is {where.precision}")


def try_network(report: Report, where: Where, name: str) -> None:
    """Forward, a training step in float32 and in precision auto, what the host waits for, memory."""
    device = where.device
    network = make_network(name, where.size).to(device)
    image, label = make_batch(name, where.size, device)
    taken = peak_gb(make_step(network, image, label), device)
    infer, network = PrecisionInferer("auto"), network.eval()
    with torch.no_grad():
        forward = seconds(lambda: infer(image, network), device, turns=where.turns)
        finite = bool(infer(image, network).isfinite().all())
    report(
        f"forward, {where.precision}",
        f"{milliseconds(forward)} for {len(image)}{'' if finite else ', NOT FINITE'}",
    )
    for precision in ("fp32", "auto"):
        step = make_step(network, image, label, precision=precision)
        took = seconds(step, device, turns=where.turns)
        loss = float(step())
        report(f"training step, {precision}", f"{milliseconds(took)} for {len(image)}, loss {loss:.3f}")
    if device.type == "cuda":
        report("waits of the host per step", str(cuda_syncs(make_step(network, image, label))))
    else:
        reads = host_reads(make_learning(network, image, label))
        report("reads per forward, loss and backward", str(sum(reads.values())))
    report("peak of a step, auto", f"{taken:.2f} GB beside the weights")


def try_compiled(report: Report, where: Where, name: str) -> None:
    """The same numbers as before, and how much faster."""
    device = where.device
    network = make_network(name, where.size).to(device)
    image, label = make_batch(name, where.size, device)
    infer = PrecisionInferer("auto")

    def evaluate() -> Tensor:
        with torch.no_grad():
            return infer(image, network.eval())

    step = make_step(network, image, label)
    plain, plain_step = seconds(evaluate, device, turns=where.turns), seconds(step, device, turns=where.turns)
    expected, names = evaluate().softmax(1), list(network.state_dict())
    compile_blocks(network, backend=where.backend)
    started = time.perf_counter()
    evaluate()
    first = time.perf_counter() - started
    far = float((evaluate().softmax(1) - expected).abs().max())
    took = seconds(evaluate, device, turns=where.turns)
    kept = "names kept" if list(network.state_dict()) == names else "NAMES CHANGED"
    report(
        f"forward, {where.backend}",
        f"{milliseconds(took)}, {plain / took:.2f} times as fast; a probability differs by {far:.4f}; {kept}",
    )
    report("its first call", milliseconds(first))
    took = seconds(step, device, turns=where.turns)
    report(f"training step, {where.backend}", f"{milliseconds(took)}, {plain_step / took:.2f} times as fast")


def try_deformable(report: Report, where: Where) -> None:
    """PG-SAM's convolution as this device does it, beside the sum of samples that it stands for."""
    side = 56 if where.size is FULL else 16
    random = torch.Generator().manual_seed(0)
    shapes = [(4, 64, side, side), (4, 18, side, side), (64, 64, 3, 3)]
    given = [torch.randn(shape, generator=random).to(where.device).requires_grad_() for shape in shapes]
    found = []
    for convolve in (deformable_convolution, sampled_convolution):
        out = convolve(*given)
        found.append([out, *torch.autograd.grad(out.square().sum(), given)])
        took = seconds(
            lambda c=convolve: torch.autograd.grad(c(*given).square().sum(), given),
            where.device,
            turns=where.turns,
        )
        report(f"{convolve.__name__}, forward and backward", milliseconds(took))
    far = max(
        float(((one - other).abs().max() / other.abs().max()).detach())
        for one, other in zip(*found, strict=True)
    )
    report("they differ by", f"{far:.1e} of the largest number, gradients included")


def try_memory(report: Report, where: Where, backbone: str, training: str, side: int, batch: int) -> None:
    """A SAMed step's peak beside the planner's rule."""
    from pgsam_monai.networks.samed import SAMed

    def learn() -> None:
        network = SAMed(num_classes=CLASSES, image_size=side, backbone=backbone, encoder_training=training)
        image = torch.rand(batch, 1, side, side, device=where.device)
        step = make_step(network.to(where.device), image, (image * CLASSES).round())
        for _ in range(2):  # the optimiser's states come with the first
            step()

    taken = peak_gb(learn, where.device)
    mixed = choose_dtype(where.device) is not None
    told = fixed_gb(backbone, encoder_training=training) - CONTEXT_GB
    told += batch * image_gb(
        backbone, image_size=side, num_classes=CLASSES, mixed_precision=mixed, encoder_training=training
    )
    report(f"SAMed, {backbone}, {training}, {batch} of {side}", f"{taken:.2f} GB; the plan's rule {told:.2f}")
