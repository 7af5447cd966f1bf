"""Whole bundles, by the commands that a user types: a tiny one under torchrun, H-SAM on real scans until time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.gpu.alone import Report

ROOT = Path(__file__).parents[2]
TINY = (
    "epochs=1",
    "iterations_per_epoch=4",
    "batch_size=2",
    "num_workers=0",
    "warmup_iterations=0",
    "image_size=32",
)
PGSAM, PLAN = ("-m", "pgsam_monai.commands.main"), ("-m", "preprocess.commands.main")
TRIED_STEPS = 12
EPOCH_STEPS = 50
START_S, EVALUATE_S = 25, 60
"""What starting a training takes, imports first of all, and what is kept for measuring the network afterwards."""


class Failed(Exception):
    """A command failed; the message has the end of what it said."""


def run(*words: str, limit_s: float) -> float:
    """Run a Python command and what it starts; its seconds.

    Raises:
        Failed: its exit status isn't 0, or it took too long.
    """
    started = time.monotonic()
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, *words], env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(words[:4])}: not done in {limit_s:.0f} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # torchrun's workers, too
    if process.returncode:
        last = (errors.strip() or out.strip() or "nothing was said").splitlines()[-1]
        raise Failed(f"{' '.join(words[:4])}: exit status {process.returncode}: {last}")
    return time.monotonic() - started


def plan(
    data: Path, work: Path, network: str, wishes: tuple[str, ...], *options: str, limit_s: float
) -> Path:
    """Plan a data set; the bundle."""
    overrides = [word for wish in wishes for word in ("--override", wish)]
    places = ["--plans_dir", str(work / "plans"), "--bundles_dir", str(work / "bundles")]
    run(*PLAN, str(data), "--networks", network, *overrides, *options, *places, limit_s=limit_s)
    return next((work / "bundles").glob(f"{network}_*"))


def try_ranks(report: Report, work: Path, limit_s: float) -> None:
    """One rank of torchrun trains SAMed on drawn scans: process group, data-parallel wrapper, checkpoint."""
    from pgsam_monai.data.phantom import write_phantom

    ends = time.monotonic() + limit_s
    data = write_phantom(work / "phantom", cases=5, in_plane=(40, 40), slices=6, progress=False)
    bundle = plan(data, work, "samed", TINY, "--target", "cpu", limit_s=limit_s)
    configs = [str(bundle / f"configs/{name}.json") for name in ("train", "multi_gpu_train")]
    took = run(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", "-m", "monai.bundle", "run", "training",
        "--config_file", str(configs), "--bundle_root", str(bundle), limit_s=ends - time.monotonic(),
    )  # fmt: skip
    model = bundle / "models/model.pt"
    report("torchrun, one rank, 4 steps", f"{took:.0f} s; model.pt {model.stat().st_size / 1e6:.1f} MB")


def try_training(
    report: Report, data: Path, work: Path, limit_s: float, *, options: tuple[str, ...], compile: bool
) -> None:
    """H-SAM on a data set: a few steps tell how many fit into the time, then a whole schedule of so many, then Dice."""
    ends = time.monotonic() + limit_s
    bundle = plan(data, work, "hsam", (), *options, limit_s=limit_s)
    report("planned", f"after {limit_s - (ends - time.monotonic()):.0f} s")
    train = [*PGSAM, "train", str(bundle), "--compile", str(compile).lower()]
    trial = work / "trial"
    places = ["--ckpt_dir", str(trial), "--output_dir", str(trial)]
    trial.mkdir()
    length = ["--epochs", "1", "--iterations_per_epoch", str(TRIED_STEPS)]
    run(*train, *length, *places, limit_s=ends - time.monotonic())
    step_s = seconds_per_step(trial)
    report("a step of its training, data included", f"{step_s:.3f} s")
    left = ends - time.monotonic() - START_S - EVALUATE_S
    epochs = int(0.9 * left / step_s / EPOCH_STEPS)
    if epochs < 1:
        report("not trained", f"{max(0, left):.0f} s were left")
        return
    length = [
        "--epochs",
        str(epochs),
        "--iterations_per_epoch",
        str(EPOCH_STEPS),
        "--val_interval",
        str(epochs),
    ]
    took = run(*train, *length, limit_s=ends - time.monotonic())
    report("trained", f"{epochs * EPOCH_STEPS} steps in {took:.0f} s")
    run(*PGSAM, "evaluate", str(bundle), limit_s=ends - time.monotonic())
    found = json.loads((bundle / "eval/validation/metrics.json").read_text())
    (row,) = (row for row in found["summary"] if (row["label"], row["metric"]) == ("mean", "dice"))
    report("held-out cases", f"mean Dice {row['mean']:.3f} of {row['n']}")


def seconds_per_step(folder: Path) -> float:
    """Of a training whose losses TensorBoard has in `folder`: median time between steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload().Scalars("train_loss")
    return median(later.wall_time - earlier.wall_time for earlier, later in pairwise(events))
