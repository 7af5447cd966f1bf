"""A cross-validation killed at random moments against one that nobody disturbed: both tables must be equal.

    python benchmarks/cross_validation_kills.py /data/Task04_Hippocampus --cases 40 --kills 2 --folder killed_folds

Takes the first cases of a data set in the Decathlon's layout, as links, plans a small network with few steps, and runs
`pgsam train BUNDLE --folds all` twice: once to its end, and once killed by SIGKILL, in turn the command alone, whose
trainings end a moment later by themselves, and with all its children, and begun again each time. Prints what each
fold's training took and whether it was resumed; the exit status is 1 where tables, predictions or weights differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.kills.commands import PGSAM, files_of, model_of  # noqa: E402

TINY = (
    "image_size=64", "epochs=6", "iterations_per_epoch=4", "batch_size=4", "num_workers=0", "warmup_iterations=0",
)  # fmt: skip
SHARES = (0.1, 0.5)
"""of the undisturbed run's time, between which a kill comes"""


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    undisturbed, killed = prepare(folder, arguments)
    started = time.monotonic()
    finish(undisturbed)
    takes_s = time.monotonic() - started
    print(f"undisturbed: {takes_s:.0f} s", flush=True)
    chance = random.Random(arguments.seed)
    for number in range(arguments.kills):
        kill(killed, after_s=takes_s * chance.uniform(*SHARES), family=number % 2 == 1)
    finish(killed)
    first, second = (result_of(bundle) for bundle in (undisturbed, killed))
    differing = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    print_trainings(killed)
    print(f"{len(first)} files and weights compared, differing: {', '.join(differing) or 'none'}")
    sys.exit(1 if differing else 0)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="a data set's folder, in the Decathlon's layout")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--folder", type=Path, default=Path("killed_folds"), help="where everything goes; made anew"
    )
    return parser.parse_args()


def prepare(folder: Path, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Two copies of one planned bundle."""
    from preprocess.commands.main import plan

    shutil.rmtree(folder, ignore_errors=True)
    data = link_cases(arguments.dataset.resolve(), folder / "data", arguments.cases)
    plan(
        str(data), networks=arguments.network, name="data", target="cpu", override=[*TINY, f"folds={arguments.folds}"],
        plans_dir=str(folder / "plans"), bundles_dir=str(folder / "bundles"),
    )  # fmt: skip
    planned = folder / f"bundles/{arguments.network}_data"
    return planned, Path(shutil.copytree(planned, folder / "bundles/killed"))


def link_cases(dataset: Path, folder: Path, cases: int) -> Path:
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"] = content["training"][:cases]
    content["test"] = []
    for name in (case[kind] for case in content["training"] for kind in ("image", "label")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(dataset / name)
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def start(bundle: Path) -> subprocess.Popen:
    with (bundle / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [*PGSAM, "train", str(bundle), "--folds", "all", "--device", "cpu"], stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip


def finish(bundle: Path) -> None:
    if start(bundle).wait():
        sys.exit(f"the command failed: {(bundle / 'output.txt').read_text()[-2000:]}")


def kill(bundle: Path, *, after_s: float, family: bool) -> None:
    """Begin the command and kill it, with all that it started or without."""
    process = start(bundle)
    try:
        process.wait(after_s)
        print(f"it had ended before {after_s:.0f} s", flush=True)
        return
    except subprocess.TimeoutExpired:
        (os.killpg if family else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(bundle.glob("eval/folds/fold_*/result.json")))
    epochs = len(list(bundle.glob("eval/folds/fold_*/models/checkpoint_last.pt")))
    whom = "the command and its children" if family else "the command alone"
    print(
        f"killed {whom} after {after_s:.0f} s: {done} folds finished, {epochs} with a checkpoint", flush=True
    )


def result_of(bundle: Path) -> dict[str, str]:
    """Digests of the out-of-fold table and predictions, and of each fold's weights."""
    folds = bundle / "eval/folds"
    files = {
        name: digest
        for name, digest in files_of(folds).items()
        if name.startswith(("metrics.", "predictions/"))
    }
    for model in sorted(folds.glob("fold_*/models/model.pt")):
        files[str(model.relative_to(folds))] = model_of(model)[model.name]
    return files


def print_trainings(bundle: Path) -> None:
    trainings = json.loads((bundle / "eval/folds/folds.json").read_text())["trainings"]
    print("| fold | Dice | steps | wall s | CPU s | resumed |", "|---|---|---|---|---|---|", sep="\n")
    for row in trainings:
        cells = (
            row["fold"],
            f"{row['dice']:.4f}",
            row["steps"],
            f"{row['wall_s']:.0f}",
            f"{row['cpu_s']:.0f}",
        )
        print(f"| {' | '.join(map(str, cells))} | {row['resumed']} |")


if __name__ == "__main__":
    main()
