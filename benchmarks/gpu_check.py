"""What this project most needs to know of a GPU, in ten minutes of one: a table, written as it goes.

    python benchmarks/gpu_check.py --data /data/Synapse                     # ten minutes, on a GPU
    python benchmarks/gpu_check.py --device cpu --small --data /data/Synapse --backend aot_eager

Every network forward and through training steps in float32 and in the bundles' precision, with what the host waits for
and the memory; PG-SAM's deformable convolution beside its definition; a step's memory beside the planner's rule; a
bundle under torchrun with one rank; slices per second of ViT-B's encoder beside `segment_anything`'s; compiled
networks; then H-SAM on --data for the minutes that are left. Weights are random, seeds are fixed. Each step is a
process of its own: one that fails, hangs or dies is a line of the table, which is also in --output as far as it went.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# Asking whether there is a GPU mustn't touch it: each step is a fork.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from benchmarks.gpu import bundles, speed, steps  # noqa: E402
from benchmarks.gpu.alone import Report, run_alone  # noqa: E402
from benchmarks.gpu.networks import FULL, NETWORKS, SMALL  # noqa: E402
from benchmarks.gpu.table import Table  # noqa: E402

COMPILED = ("samed", "hsam", "dynunet")
SPEED = ((224, 16), (512, 8), (1024, 2))
"""Pixels, slices at a time."""
MEMORY = (
    ("vit_b", "lora", 224, 12),
    ("vit_b", "lora", 512, 4),
    ("vit_b", "full", 224, 12),
    ("vit_l", "lora", 224, 12),
)
SMALL_SPEED, SMALL_MEMORY = ((224, 1),), (("vit_tiny", "full", 224, 8), ("vit_b", "frozen", 224, 1))
STEP_S, COMPILED_S, RANKS_S = 45, 90, 90
"""Seconds that a step may take at most on a GPU; ten times as many on a CPU."""

Step = tuple[str, float, Callable[[Report], None]]
"""Its name, the seconds that it may take, and itself."""


def main() -> None:
    arguments = parse_arguments()
    ends = time.monotonic() + 60 * arguments.minutes
    table = Table(arguments.output)
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as work:
        for name, limit_s, step in all_steps(arguments, Path(work)):
            take(table, name, step, min(limit_s, ends - time.monotonic() - arguments.keep))
        if arguments.data:
            left = ends - time.monotonic()
            training = partial(
                bundles.try_training, data=arguments.data, work=Path(work), limit_s=left - 5,
                options=tuple(arguments.plan.split()), compile=arguments.compile,
            )  # fmt: skip
            take(table, f"H-SAM on {arguments.data.name}", training, left)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU bears")
    parser.add_argument(
        "--data", type=Path, help="a data set's folder, for H-SAM in the minutes that are left"
    )
    parser.add_argument("--plan", default="", help="further words for pgsam-plan, such as '--backbone vit_b'")
    parser.add_argument("--keep", type=float, help="seconds kept for --data; 240 by default")
    parser.add_argument("--compile", action="store_true", help="train on --data with compiled blocks")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--turns", type=int, help="of each measurement; 10, on a CPU 1")
    parser.add_argument("--only", default="", help="steps whose names begin so, with commas between")
    parser.add_argument("--output", type=Path, default=Path("gpu_check.md"))
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --small tries what a CPU can")
    if arguments.keep is None:
        arguments.keep = 240 if arguments.data else 0
    arguments.turns = arguments.turns or (10 if arguments.device == "cuda" else 1)
    return arguments


def all_steps(arguments: argparse.Namespace, work: Path) -> Iterator[Step]:
    """What is asked for, in order."""
    where = steps.Where(
        device=torch.device(arguments.device), size=SMALL if arguments.small else FULL, turns=arguments.turns,
        backend=arguments.backend,
    )  # fmt: skip
    patience = 10 if arguments.device == "cpu" else 1
    wanted = tuple(filter(None, arguments.only.split(",")))
    for name, limit_s, step in _steps(where, work, patience * RANKS_S):
        if not wanted or name.startswith(wanted):
            yield name, patience * limit_s, step


def _steps(where: steps.Where, work: Path, ranks_s: float) -> Iterator[Step]:
    small = where.size is SMALL
    yield "machine", STEP_S, partial(steps.describe, where=where)
    for name in NETWORKS:
        yield name, STEP_S, partial(steps.try_network, where=where, name=name)
    yield "deformable convolution", STEP_S, partial(steps.try_deformable, where=where)
    for backbone, training, side, batch in SMALL_MEMORY if small else MEMORY:
        work_ = partial(
            steps.try_memory, where=where, backbone=backbone, training=training, side=side, batch=batch
        )
        yield "memory", STEP_S, work_
    yield "torchrun", RANKS_S, partial(bundles.try_ranks, work=work, limit_s=0.9 * ranks_s)
    for side, batch in SMALL_SPEED if small else SPEED:
        yield "encoder", COMPILED_S, partial(speed.try_speed, where=where, side=side, batch=batch)
    for name in COMPILED:
        yield f"compiled {name}", COMPILED_S, partial(steps.try_compiled, where=where, name=name)


def take(table: Table, name: str, step: Callable[[Report], None], limit_s: float) -> None:
    """A step's rows, each with the seconds since the one before."""
    if limit_s < 1:
        table.add(name, "left out", "no time is left", 0)
        return
    last = time.monotonic()
    for what, result in run_alone(step, limit_s=limit_s):
        table.add(name, what, result, time.monotonic() - last)
        last = time.monotonic()


if __name__ == "__main__":
    main()
