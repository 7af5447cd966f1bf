"""What is killed: commands, what each starts from, and what of its result must be the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kills.label_client import use
from benchmarks.kills.stage import DATASET, NETWORK, Stage

TINY = (
    "image_size=64", "epochs=3", "iterations_per_epoch=3", "batch_size=2", "num_workers=0", "warmup_iterations=0",
    "val_interval=1",
)  # fmt: skip
PORT = int(os.environ.get("PORT", 8741))
PGSAM = [sys.executable, "-m", "pgsam_monai.commands.main"]
PLAN = [sys.executable, "-m", "preprocess.commands.main"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is killed."""

    words: Callable[[Stage], list[str]]
    again: Callable[[Stage], list[str]] | None = None
    """how it goes on, if that takes other words"""
    before: str = "planned"
    """the files that it starts from: "empty", "planned" or "trained" """
    result: Callable[[Stage], dict[str, str]]
    """file -> digest of what matters in it"""
    window: Callable[[Stage], bool] | None = None
    """kills wait until this holds; None: from the start"""
    client: Callable[[Stage, subprocess.Popen], None] | None = None
    """uses the command, a server, from a thread, and stops it"""


def files_of(folder: Path, *, skip: tuple[str, ...] = ()) -> dict[str, str]:
    """Digests of all files below a folder but those with such parts in their paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {str(path.relative_to(folder)): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not any(part in name for part in skip)
    }


def model_of(file: Path) -> dict[str, str]:
    """Digest of the tensors in a file of torch's, whose bytes depend on the name that it was written under."""
    import torch

    state = torch.load(file, weights_only=True)
    state = state.get("model", state)
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode() + (value.numpy().tobytes() if isinstance(value, torch.Tensor) else b""))
    return {str(file.name): digest.hexdigest()}


def curve_of(folder: Path) -> dict[str, str]:
    """The rows of a curve's table, without their times."""
    rows = (folder / "few_shot.csv").read_text().splitlines()
    return {row.split(",wall_s")[0]: "" for row in rows[:1]} | {
        ",".join(row.split(",")[:3]): ",".join(row.split(",")[3:-3]) for row in rows[1:]
    }


def plan_words(stage: Stage) -> list[str]:
    wishes = [word for wish in TINY for word in ("--override", wish)]
    places = ["--plans_dir", str(stage.now / "plans"), "--bundles_dir", str(stage.now / "bundles")]
    return [*PLAN, str(stage.data), "--name", DATASET, "--networks", NETWORK, "--target", "cpu", "--memory_gb", "6",
            "--workers", "2", *wishes, *places]  # fmt: skip


def _train(stage: Stage, *more: str) -> list[str]:
    return [*PGSAM, "train", str(stage.bundle), "--device", "cpu", *more]


def short_training(stage: Stage) -> list[str]:
    return _train(stage, "--epochs", "1", "--iterations_per_epoch", "1")


def _store(stage: Stage) -> Path:
    return stage.bundle / "store"


def _use_server(stage: Stage, server: subprocess.Popen) -> None:
    use(server, f"http://127.0.0.1:{PORT}", stage.bundle.name, "img0001", stage.now / "answer/after.nii.gz")


COMMANDS = {
    "plan": Command(
        words=plan_words, before="empty",
        result=lambda stage: files_of(stage.now, skip=("report.html", ".facts", ".bak", ".lock")),
    ),
    "fill": Command(
        words=short_training, window=lambda stage: _store(stage).is_dir(),
        result=lambda stage: files_of(_store(stage), skip=(".lock", "entry.json"))
        | model_of(stage.bundle / "models/model.pt"),
    ),
    "train": Command(
        words=_train, again=lambda stage: _train(stage, "--resume"),
        result=lambda stage: model_of(stage.bundle / "models/model.pt")
        | model_of(stage.bundle / "models/checkpoint_last.pt"),
    ),
    "predict": Command(
        words=lambda stage: [*PGSAM, "predict", str(stage.bundle), str(stage.data / "img"),
        str(stage.now / "predictions"),
                             "--device", "cpu", "--overlays", "--html"],
        before="trained",
        result=lambda stage: files_of(stage.now / "predictions", skip=(".html", ".pgsam", "summary.")),
    ),
    "curve": Command(
        words=lambda stage: _train(stage, "--few_shot_curve", "1,2", "--seeds", "1", "--epochs", "2"),
        result=lambda stage: curve_of(stage.bundle / "eval/few_shot"),
    ),
    "label": Command(
        words=lambda stage: [*PGSAM, "label", str(stage.bundle), "--studies", str(stage.now / "studies"), "--port",
                             str(PORT), "--app_dir", str(stage.now / "app")],
        before="trained", client=_use_server, result=lambda stage: files_of(stage.now / "answer"),
    ),
}  # fmt: skip
