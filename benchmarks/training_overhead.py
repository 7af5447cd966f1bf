"""What a training does beside learning: bytes of checkpoints, processes started, how often a GPU would wait.

    python benchmarks/training_overhead.py [--network pgsam] [--epochs 3] [--workers 2]

Trains a small network on drawn scans on the CPU, in this process, and counts. Nothing is timed, and no GPU is needed.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.engines import IterationEvents
from torch.utils.data import dataloader

from benchmarks.gpu.syncs import HostReads
from pgsam_monai.data.phantom import write_phantom
from preprocess.commands.main import plan

STEPS = 14
"""An epoch of the published recipe on a tenth of Synapse."""
WISHES = (
    f"iterations_per_epoch={STEPS}", "batch_size=2", "warmup_iterations=0", "image_size=32",
    "encoder_training=lora",
)  # fmt: skip
CLIP_WISHES = ("clip_training=lora",)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--network", default="pgsam")
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    asked = arguments.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        bundle = _planned(Path(folder), asked)
        for what, count in counted(bundle, epochs=asked.epochs).items():
            print(f"{what:40} {count:,}")


def _planned(work: Path, asked: argparse.Namespace) -> Path:
    """A bundle of the network for drawn scans, that is validated after its last epoch."""
    data = write_phantom(work / "phantom", cases=5, in_plane=(40, 40), slices=6, progress=False)
    wishes = [*WISHES, *(CLIP_WISHES if asked.network == "pgsam" else ())]
    wishes += [f"epochs={asked.epochs}", f"val_interval={asked.epochs}", f"num_workers={asked.workers}"]
    plan(
        str(data), target="cpu", override=wishes, networks=asked.network, plans_dir=str(work / "plans"),
        bundles_dir=str(work / "bundles"),
    )  # fmt: skip
    return next((work / "bundles").iterdir())


def counted(bundle: Path, *, epochs: int) -> Counter[str]:
    """Train the bundle; what was counted, by what it is."""
    found: Counter[str] = Counter()
    workflow = ConfigWorkflow(
        str(bundle / "configs/train.json"), logging_file=False, workflow_type="training", run_id="training",
        final_id="", bundle_root=str(bundle),
    )  # fmt: skip
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    with _counting(trainer, found):
        workflow.run()
    steps = epochs * STEPS
    return Counter(
        {
            **{name: count for name, count in sorted(found.items()) if name.startswith("bytes")},
            f"workers started in {epochs} epochs": found["workers"],
            f"reads of the host in {steps} steps": found["reads"],
            f"copies from pageable memory, {steps} steps": found["copies"],
        }
    )


@contextmanager
def _counting(trainer: Engine, found: Counter[str]) -> Iterator[None]:
    """Count what is saved and started, and in forward, loss, backward and clipping what is read and copied.

    The optimiser isn't in it: its counts of steps lie on the host, where reading them keeps no GPU waiting.
    """
    save, start, from_numpy = torch.save, dataloader._MultiProcessingDataLoaderIter.__init__, torch.from_numpy
    reads, in_step = HostReads(), False

    def saved(content: Any, file: Path) -> None:
        save(content, file)
        found[f"bytes written in epoch {trainer.state.epoch}"] += file.stat().st_size

    def started(iterator: Any, loader: Any) -> None:
        start(iterator, loader)
        found["workers"] += loader.num_workers

    def copied(array: Any) -> torch.Tensor:
        found["copies"] += in_step
        return from_numpy(array)

    def begin(engine: Engine) -> None:
        nonlocal in_step
        in_step = True
        reads.__enter__()

    def end(engine: Engine) -> None:
        nonlocal in_step
        reads.__exit__(None, None, None)
        in_step = False

    trainer.add_event_handler(Events.ITERATION_STARTED, begin)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, end)
    with (
        patch.object(torch, "save", saved),
        patch.object(dataloader._MultiProcessingDataLoaderIter, "__init__", started),
        patch.object(torch, "from_numpy", copied),
    ):
        yield
    found["reads"] = sum(reads.found.values())


if __name__ == "__main__":
    main()
