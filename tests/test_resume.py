"""kill -9 in the middle of a training, then --resume: the numbers of an undisturbed run."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny
from typed import begin, typed

EPOCHS = 20


def training(bundle: Path, *flags: str) -> list[str]:
    words = ["-m", "monai.bundle", "run", "training", *flags]
    return [*words, "--config_file", str(bundle / "configs/train.json"), "--bundle_root", str(bundle)]


def train(bundle: Path, *flags: str) -> None:
    done = typed(*training(bundle, *flags))
    assert done.returncode == 0, done.stderr[-3000:]


def kill_after_some_epochs(bundle: Path) -> int:
    last = bundle / "models/checkpoint_last.pt"
    process = begin(*training(bundle), outputs=[bundle / "stdout.txt", bundle / "stderr.txt"])
    deadline = time.monotonic() + 240
    while not last.is_file() and time.monotonic() < deadline and process.is_alive():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return torch.load(last, weights_only=True)["epoch"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    work = tmp_path_factory.mktemp("resume")
    folder = write_nnunet(work / "Dataset003_Kill", cases=5, shape=(40, 36, 6))
    undisturbed = plan_tiny(folder, work, f"epochs={EPOCHS}")
    killed = work / "bundles" / "killed"
    shutil.copytree(undisturbed, killed)
    return undisturbed, killed


def test_a_killed_training_ends_with_the_same_numbers(bundles):
    undisturbed, killed = bundles
    train(undisturbed)
    stopped_after = kill_after_some_epochs(killed)
    assert 1 <= stopped_after < EPOCHS
    train(killed, "--resume", "True")
    first, second = (torch.load(b / "models/checkpoint_last.pt", weights_only=True) for b in bundles)
    assert second["epoch"] == first["epoch"] == EPOCHS
    assert second["best"] == first["best"]
    assert second["frozen"] == first["frozen"]
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]), name
    best = [torch.load(b / "models/model.pt", weights_only=True) for b in bundles]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])
    assert not list((killed / "models").glob("*.partial"))
