"""Memory and time of RefSAM3D on this machine, beside what the planner's arithmetic says.

    python benchmarks/refsam3d_memory.py    # ViT-B, 128³ and 96×160×160 voxels, with and without checkpointing
    python benchmarks/refsam3d_memory.py --patches 64x64x64 --token_sizes 4x4x4 --backbone vit_mini --training full

Every row is a process of its own: one training step (forward, Dice + CE, backward, AdamW) to grow, then timed ones; the
peak is the kernel's count of the process's resident memory. Then a window without gradients in a further process.
Weights are random, which matters for neither. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

GIGA = 1e9
CLASSES = 12
COLUMNS = (
    "patch", "token", "checkpointing", "tokens", "training, GB", "planned, GB", "planned / measured", "s per step",
    "window, GB", "s per window",
)  # fmt: skip
OPTIONS = ("backbone", "training", "precision", "steps", "threads")
"""What a row's own process is told."""


def main() -> None:
    arguments = read_arguments()
    if arguments.row:
        print(json.dumps(measure(arguments, **json.loads(arguments.row))))
        return
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for patch in arguments.patches.split(","):
        for token_size in arguments.token_sizes.split(","):
            for checkpointing in (False, True):
                print_row(arguments, sides(patch), sides(token_size), checkpointing)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", default="128x128x128,160x160x96", help="rows x columns x slices")
    parser.add_argument("--token_sizes", default="16x16x16,8x8x8", help="voxels per token")
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--training", default="adapters", help="adapters or full")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, bf16 or auto; the planner's CPU rule is fp32"
    )
    parser.add_argument("--steps", type=int, default=2, help="timed steps")
    parser.add_argument("--threads", type=int, default=0, help="0 for torch's own choice")
    parser.add_argument("--limit_gb", type=float, default=20.0, help="rows planned above this are not run")
    parser.add_argument("--row", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def sides(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("x"))


def print_row(arguments: argparse.Namespace, patch: tuple, token_size: tuple, checkpointing: bool) -> None:
    planned = planned_gb(arguments, patch, token_size, checkpointing)
    tokens = " × ".join(str(side // size) for side, size in zip(patch, token_size, strict=True))
    shown = [
        "×".join(map(str, patch)),
        "×".join(map(str, token_size)),
        "yes" if checkpointing else "no",
        tokens,
    ]
    start = "| " + " | ".join(shown) + " |"
    if planned > arguments.limit_gb:
        print(f"{start} not run | {planned:.2f} | | | | |", flush=True)
        return
    row = {"patch": patch, "token_size": token_size, "checkpointing": checkpointing}
    step, window = (child(arguments, {**row, "training": training}) for training in (True, False))
    print(
        f"{start} {step['gb']:.2f} | {planned:.2f} | {planned / step['gb']:.2f} | {step['seconds']:.2f} | "
        f"{window['gb']:.2f} | {window['seconds']:.2f} |",
        flush=True,
    )


def planned_gb(arguments: argparse.Namespace, patch: tuple, token_size: tuple, checkpointing: bool) -> float:
    from preprocess.networks.refsam3d.memory import fixed_gb, patch_gb

    shape = {"patch": patch, "token_size": token_size}
    own = patch_gb(
        arguments.backbone, **shape, num_classes=CLASSES, encoder_training=arguments.training,
        checkpointing=checkpointing, mixed_precision=arguments.precision != "fp32",
    )  # fmt: skip
    return own + fixed_gb(arguments.backbone, encoder_training=arguments.training)


def child(arguments: argparse.Namespace, row: dict) -> dict:
    """The row, measured in a process of its own."""
    options = [f"--{name}={getattr(arguments, name)}" for name in OPTIONS]
    done = subprocess.run(
        [sys.executable, __file__, *options, "--row", json.dumps(row)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{row}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    arguments: argparse.Namespace, *, patch: list, token_size: list, checkpointing: bool, training: bool
) -> dict:
    import torch

    from pgsam_monai.training.preparing import keep_freed_memory

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    network = build(arguments, patch, token_size, checkpointing).train(training)
    image = torch.rand(1, 1, *patch)
    label = torch.randint(CLASSES + 1, (1, 1, *patch)).float()
    run = training_step(network, image, label, arguments) if training else window(network, image, arguments)
    run()
    seconds = [timed(run) for _ in range(arguments.steps)]
    return {"gb": resident_gb(), "seconds": min(seconds)}


def build(arguments: argparse.Namespace, patch: list, token_size: list, checkpointing: bool):
    from pgsam_monai.networks.refsam3d import RefSAM3D

    names = ["background", *(f"structure {number}" for number in range(1, CLASSES + 1))]
    return RefSAM3D(
        num_classes=CLASSES, patch=patch, token_size=token_size, backbone=arguments.backbone,
        encoder_training=arguments.training, texts=[[name] for name in names], names=names,
        clip_model="ViT-B-32-quickgelu", clip_training="frozen", checkpointing=checkpointing,
    )  # fmt: skip


def training_step(network, image, label, arguments: argparse.Namespace):
    import torch
    from monai.losses import DiceCELoss

    from pgsam_monai.networks.precision import autocast

    loss = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with autocast("cpu", arguments.precision):
            logits = network(image, label)
        loss(logits, label).backward()
        optimizer.step()

    return step


def window(network, image, arguments: argparse.Namespace):
    import torch

    from pgsam_monai.networks.precision import autocast

    network.eval()

    def predict() -> None:
        with torch.no_grad(), autocast("cpu", arguments.precision):
            network(image)

    return predict


def timed(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def resident_gb() -> float:
    """The most that this process ever held (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGA


if __name__ == "__main__":
    main()
