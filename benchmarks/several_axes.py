"""DynUNet on slices along several axes, of small pixels last, as one ensemble: what learnt most in equal CPU minutes.

    python benchmarks/several_axes.py /data/Synapse
    python benchmarks/several_axes.py /data/Synapse --fold all_cases --folder for_unseen_cases
    python benchmarks/several_axes.py /data/Task04_Hippocampus --sizes 64 --axes axial:2000,coronal:2000,sagittal:2000

Plans the data set for a CPU once per axis and size, trains each axis at the first size and goes on with its weights at
the next, at half the learning rate (the last network counts), and puts the last of each axis together by `pgsam
ensemble`. --axes gives each axis the steps at each size. With --fold 0 which axes answer is chosen on the cases that
the fold held out, and the ensemble is measured on the same, so its Dice flatters a little; with all_cases all answer
and nothing is left to measure. One thread each, --parallel axes at a time; what is finished isn't repeated; a folder
takes one setting. Prints the CPU minutes of each training and the Dice per structure.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.kills.commands import PGSAM  # noqa: E402
from pgsam_monai.base.child_processes import run_logged  # noqa: E402
from pgsam_monai.base.locks import hold  # noqa: E402

AXES = "axial:640/1600,coronal:640/1100"
"""sagittal slices brought nothing on Synapse, whose organs are told by their side"""
EPOCHS = 20
WARMUP_STEPS = 64
LEARNING_RATE = 0.003
"""of the first size"""


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    axes = {axis: [int(n) for n in steps.split("/")] for axis, steps in read_axes(arguments.axes).items()}
    if any(len(steps) != len(sizes) for steps in axes.values()):
        sys.exit(f"--axes: each axis needs steps for each of the sizes {arguments.sizes}")
    claim(folder, arguments)
    for axis in axes:
        for size in sizes:
            plan_bundle(folder, arguments, axis=axis, size=size)
    with ThreadPoolExecutor(arguments.parallel) as pool:
        minutes = list(pool.map(lambda axis: train_axis(folder, arguments, axis, sizes, axes[axis]), axes))
    for axis, taken in zip(axes, minutes, strict=True):
        print(f"{axis}: {' + '.join(f'{each:.1f}' for each in taken)} CPU minutes")
    print(f"in all {sum(map(sum, minutes)):.1f} CPU minutes of training")
    print_dice(put_together(folder, arguments, [folder_of(folder, axis, sizes[-1]) for axis in axes]))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="a data set's folder")
    parser.add_argument("--axes", default=AXES, help=f"axis:steps/steps, separated by commas; {AXES}")
    parser.add_argument("--sizes", default="128,224", help="pixels, one after the other")
    parser.add_argument("--fold", default="0", help="a fold's number, or all_cases")
    parser.add_argument("--seed", type=int, default=123, help="of the trainings")
    parser.add_argument("--batch", type=int, default=12, help="slices of a step")
    parser.add_argument("--more", default="", help="further trained bundles for the ensemble, with commas")
    parser.add_argument("--parallel", type=int, default=2, help="axes at a time, one thread each")
    parser.add_argument("--folder", type=Path, default=Path("several_axes"), help="where everything goes")
    return parser.parse_args()


def claim(folder: Path, arguments: argparse.Namespace) -> None:
    """Networks of another setting are not taken for this one's."""
    stamp = folder / "settings.json"
    own = {
        name: str(value)
        for name, value in vars(arguments).items()
        if name not in ("folder", "parallel", "more")
    }
    if stamp.is_file() and json.loads(stamp.read_text()) != own:
        sys.exit(f"{folder} holds networks of another setting, see {stamp}; name another --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps(own, indent=1))


def read_axes(text: str) -> dict[str, str]:
    return {axis: steps for axis, _, steps in (entry.partition(":") for entry in text.split(","))}


def folder_of(folder: Path, axis: str, size: int) -> Path:
    return folder / f"bundles/dynunet_{axis}_{size}"


def plan_bundle(folder: Path, arguments: argparse.Namespace, *, axis: str, size: int) -> None:
    from preprocess.commands.main import plan

    if folder_of(folder, axis, size).is_dir():
        return
    plan(
        str(arguments.dataset.resolve()), networks="dynunet", name=f"{axis}_{size}", target="cpu",
        override=[f"slice_axis={axis}", f"image_size={size}", f"batch_size={arguments.batch}"],
        plans_dir=str(folder / "plans"), bundles_dir=str(folder / "bundles"),
    )  # fmt: skip


def train_axis(
    folder: Path, arguments: argparse.Namespace, axis: str, sizes: list[int], steps: list[int]
) -> list[float]:
    """CPU minutes at each size, start-up and preprocessing included."""
    bundles = [folder_of(folder, axis, size) for size in sizes]
    given = ["--fold", arguments.fold, "--seed", str(arguments.seed)]
    taken = [train(bundles[0], steps[0], given)]
    for (before, bundle), number in zip(pairwise(bundles), steps[1:], strict=True):
        further = ["--from", str(before), "--learning_rate", str(LEARNING_RATE / 2)]
        taken.append(train(bundle, number, [*given, *further]))
    return taken


def train(bundle: Path, steps: int, words: list[str]) -> float:
    finished = bundle / "training_cpu_s.json"
    if not finished.is_file():
        command = [
            *PGSAM, "train", str(bundle), "--epochs", str(EPOCHS), "--iterations_per_epoch",
            str(max(1, round(steps / EPOCHS))), "--warmup_iterations", str(min(WARMUP_STEPS, steps // 4)),
            "--model_selection", "last", "--val_interval", "1000", *words,
        ]  # fmt: skip
        with hold(bundle) as held:
            cost = run_logged(command, log=bundle / "training.log", threads=1, held=held)
        finished.write_text(json.dumps(cost.cpu_s))
    return json.loads(finished.read_text()) / 60


def put_together(folder: Path, arguments: argparse.Namespace, bundles: list[Path]) -> Path:
    output = folder / "bundles/ensemble"
    choose = ["--choose", "False"] if arguments.fold == "all_cases" else []
    more = [each for each in arguments.more.split(",") if each]
    with hold(folder) as held:
        run_logged(
            [*PGSAM, "ensemble", *map(str, bundles), *more, "--output", str(output), *choose],
            log=folder / "ensemble.log", threads=None, held=held,
        )  # fmt: skip
    return output


def print_dice(ensemble: Path) -> None:
    content = json.loads((ensemble / "configs/ensemble.json").read_text())
    print(f"chosen: {' + '.join(content['chosen'])} ({content['chosen_on']})")
    if not content["candidates"]:
        return
    structures = list(content["candidates"][0]["by_structure"])
    print("| networks | mean | " + " | ".join(structures) + " |")
    print("|---" * (2 + len(structures)) + "|")
    for each in content["candidates"]:
        dice = [each["dice"], *(each["by_structure"][label] for label in structures)]
        cells = " | ".join("" if value is None else f"{value:.3f}" for value in dice)
        print(f"| {' + '.join(each['networks'])} | {cells} |")


if __name__ == "__main__":
    main()
