"""Networks beside each other with the same CPU minutes of training steps, on a few cases or a whole fold.

    python benchmarks/equal_minutes.py /data/Task04_Hippocampus --networks refsam3d,samed,dynunet --cpu_minutes 10
    python benchmarks/equal_minutes.py /data/Task04_Hippocampus --few_shot 10 --cpu_minutes 10 --folder ten_cases
    python benchmarks/equal_minutes.py /data/LA2018 --training 06SR,0RZD,1D7C,1GU1 --held_out 10 --folder four_scans

Plans the data set for a CPU; measures how many CPU seconds a step of each network takes and trains each, from random
weights, for as many steps as fit, keeping the last network; then measures it on --held_out cases of fold 0. Runs take
one thread each, --parallel at a time; the same command goes on after an interruption. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from ablation import hold_out  # noqa: E402
from few_shot_curves import seconds_per_step  # noqa: E402

from pgsam_monai.base.child_processes import run_logged  # noqa: E402
from pgsam_monai.base.locks import hold  # noqa: E402
from pgsam_monai.metrics.summary import OVERALL  # noqa: E402

EPOCHS = 10
WARMUP_SHARE = 0.1


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    plan_bundles(folder, arguments)
    names = arguments.networks.split(",")
    with ThreadPoolExecutor(arguments.parallel) as pool:
        rows = list(
            pool.map(
                lambda name: run(folder / f"bundles/{name}_data", folder / "runs" / name, arguments), names
            )
        )
    print_rows(names, rows)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="a data set's folder")
    parser.add_argument(
        "--networks", default="refsam3d,samed,pgsam,hsam,medsa,dynunet", help="separated by commas"
    )
    parser.add_argument("--few_shot", type=int, default=0, help="training cases; 0 for all of the fold")
    parser.add_argument(
        "--training",
        default="",
        help="beginnings of the training cases' names, with commas; else the plan's fold 0",
    )
    parser.add_argument(
        "--cpu_minutes", type=float, default=10.0, help="of training steps, for every network"
    )
    parser.add_argument(
        "--held_out", type=int, default=20, help="cases of the held-out fold that are measured"
    )
    parser.add_argument(
        "--override", action="append", default=[], help="of the plan, such as refsam3d.batch_size=1"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, default=Path("equal_minutes"), help="where everything goes")
    return parser.parse_args()


def plan_bundles(folder: Path, arguments: argparse.Namespace) -> None:
    from preprocess.commands.main import plan

    plan(
        str(arguments.dataset.resolve()), networks=arguments.networks, name="data", target="cpu",
        few_shot=str(arguments.few_shot) if arguments.few_shot else None,
        override=["num_workers=0", *arguments.override], plans_dir=str(folder / "plans"),
        bundles_dir=str(folder / "bundles"),
    )  # fmt: skip
    for bundle in folder.glob("bundles/*"):
        if arguments.training:
            train_on(bundle, tuple(arguments.training.split(",")))
        hold_out(bundle, arguments.held_out)


def train_on(bundle: Path, beginnings: tuple[str, ...]) -> None:
    """Fold 0 trains on the cases whose names begin so, and holds the others out."""
    splits = bundle / "configs/splits.json"
    content = json.loads(splits.read_text())
    chosen = [name for name in content["cases"] if name.startswith(beginnings)]
    if not chosen:
        sys.exit(f"--training: no case's name begins with {' or '.join(beginnings)}")
    content["folds"][0] |= {
        "training": chosen, "validation": [name for name in content["cases"] if name not in chosen]
    }  # fmt: skip
    splits.write_text(json.dumps(content))


def trial_of(bundle: Path, work: Path) -> Path:
    """A copy of the bundle with one held-out case, for trials that are to measure training steps."""
    copy = work / bundle.name
    shutil.copytree(bundle / "configs", copy / "configs", dirs_exist_ok=True)
    hold_out(copy, 1)
    return copy


def run(bundle: Path, work: Path, arguments: argparse.Namespace) -> dict:
    """Train and measure one network, or read what an earlier command measured."""
    done = work / "result.json"
    if not done.is_file():
        steps_file = work / "seconds_per_step.json"
        if not steps_file.is_file():
            work.mkdir(parents=True, exist_ok=True)
            seconds = seconds_per_step(trial_of(bundle, work), work / "trial")
            steps_file.write_text(json.dumps(seconds))
        seconds = json.loads(steps_file.read_text())
        per_epoch = max(1, round(arguments.cpu_minutes * 60 / seconds / EPOCHS))
        cost = train(bundle, work, per_epoch, arguments.seed)
        row = {"steps": per_epoch * EPOCHS, "cpu_min": cost / 60, **evaluate(bundle, work)}
        done.write_text(json.dumps(row, indent=1))
    return json.loads(done.read_text())


def train(bundle: Path, work: Path, per_epoch: int, seed: int) -> float:
    """CPU seconds of the training; a finished one is not repeated."""
    finished = work / "training_cpu_s.json"
    if not finished.is_file():
        steps = per_epoch * EPOCHS
        command = [
            *monai("training", bundle, "train.json"), *places(work), "--epochs", str(EPOCHS),
            "--iterations_per_epoch", str(per_epoch), "--val_interval", "1000", "--model_selection", "last",
            "--warmup_iterations", str(round(WARMUP_SHARE * steps)), "--seed", str(seed),
        ]  # fmt: skip
        with hold(work) as held:
            cost = run_logged(command, log=work / "training.log", threads=1, held=held)
        finished.write_text(json.dumps(cost.cpu_s))
    return json.loads(finished.read_text())


def evaluate(bundle: Path, work: Path) -> dict:
    """Dice without prompts on the held-out cases."""
    with hold(work) as held:
        command = [*monai("evaluating", bundle, "train.json", "evaluate.json"), *places(work)]
        run_logged(command, log=work / "evaluating.log", threads=1, held=held)
    scores = json.loads((work / "validation/metrics.json").read_text())["summary"]
    dice = {score["label"]: score["mean"] for score in scores if score["metric"] == "dice"}
    return {"dice": dice.pop(OVERALL), "classes": dice}


def monai(run_id: str, bundle: Path, *configs: str) -> list[str]:
    files = [str(bundle / "configs" / name) for name in configs]
    given = files[0] if len(files) == 1 else str(files)
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", given]
    return [*command, "--bundle_root", str(bundle)]


def places(work: Path) -> list[str]:
    return ["--ckpt_dir", str(work / "models"), "--output_dir", str(work)]


def print_rows(names: list[str], rows: list[dict]) -> None:
    classes = list(rows[0]["classes"])
    print("| network | steps | CPU min | mean Dice | " + " | ".join(classes) + " |")
    print("|---" * (4 + len(classes)) + "|")
    for name, row in zip(names, rows, strict=True):
        cells = " | ".join(f"{row['classes'][label]:.3f}" for label in classes)
        print(f"| {name} | {row['steps']} | {row['cpu_min']:.1f} | {row['dice']:.3f} | {cells} |")


if __name__ == "__main__":
    main()
