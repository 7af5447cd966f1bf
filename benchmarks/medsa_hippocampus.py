"""Few cases, LiteMedSAM's weights or none: Med-SA beside SAMed and PG-SAM with the same CPU minutes of training steps.

    python benchmarks/medsa_hippocampus.py /data/Task04_Hippocampus --cpu_minutes 15 --few_shot 10

Plans the data set twice, with LiteMedSAM's weights and with random ones, on the same few training cases; measures how
many CPU seconds a step of each network takes and trains each for as many steps as fit. Then the held-out fold: every
network without prompts on all its cases, and Med-SA with simulated users on the first --prompted_cases of them. Runs
take one thread each, --parallel at a time; the same command goes on after an interruption. Prints tables in Markdown.
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

from few_shot_curves import seconds_per_step  # noqa: E402

from pgsam_monai.child_processes import hold, run_logged  # noqa: E402
from pgsam_monai.metrics.summary import OVERALL  # noqa: E402

STARTS = {"LiteMedSAM": [], "random": ["weights=null"]}
"""Where the networks start, and the override that says so."""
EPOCHS = 10
WARMUP_SHARE = 0.1


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    bundles = {}
    for start, overrides in STARTS.items():
        plan_bundles(folder / start, overrides, arguments)
        for network in arguments.networks.split(","):
            bundles[network, start] = folder / start / f"bundles/{network}_data"
    with ThreadPoolExecutor(arguments.parallel) as pool:
        rows = list(pool.map(lambda key: run(bundles[key], folder, key, arguments), bundles))
    print("| network | starts from | steps | CPU min | mean Dice | " + " | ".join(rows[0]["classes"]) + " |")
    print("|---" * (5 + len(rows[0]["classes"])) + "|")
    for (network, start), row in zip(bundles, rows, strict=True):
        cells = " | ".join(f"{dice:.3f}" for dice in row["classes"].values())
        print(
            f"| {network} | {start} | {row['steps']} | {row['cpu_min']:.1f} | {row['dice']:.3f} | {cells} |"
        )
    print_prompted(
        {key[1]: row["prompted"] for key, row in zip(bundles, rows, strict=True) if "prompted" in row}
    )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="a data set's folder")
    parser.add_argument("--networks", default="medsa,samed,pgsam", help="separated by commas")
    parser.add_argument("--few_shot", type=int, default=10, help="training cases")
    parser.add_argument(
        "--cpu_minutes", type=float, default=15.0, help="of training steps, for every network"
    )
    parser.add_argument(
        "--held_out", type=int, default=20, help="cases of the held-out fold that are measured"
    )
    parser.add_argument("--prompted_cases", type=int, default=10, help="of these, with simulated users")
    parser.add_argument("--resolution", type=int, default=128, help="input side of the networks")
    parser.add_argument("--batch_size", type=int, default=4, help="slices of a step")
    parser.add_argument(
        "--override", action="append", default=[], help="of the plan, such as medsa.stack_depth=1"
    )
    parser.add_argument("--seed", type=int, default=0, help="of trainings and users")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--folder", type=Path, default=Path("medsa_hippocampus"), help="where everything goes"
    )
    return parser.parse_args()


def plan_bundles(folder: Path, overrides: list[str], arguments: argparse.Namespace) -> None:
    from preprocess.cli import plan

    plan(
        str(arguments.dataset.resolve()), networks=arguments.networks, name="data", target="cpu",
        backbone="lite_medsam", resolution=arguments.resolution, few_shot=arguments.few_shot,
        override=[*overrides, f"batch_size={arguments.batch_size}", "num_workers=0", *arguments.override],
        plans_dir=str(folder / "plans"), bundles_dir=str(folder / "bundles"),
    )  # fmt: skip
    for bundle in folder.glob("bundles/*"):
        hold_out(bundle, arguments.held_out)


def hold_out(bundle: Path, cases: int) -> None:
    """Leave the first few of the held-out cases: a CPU measures them slowly."""
    splits = bundle / "configs/splits.json"
    content = json.loads(splits.read_text())
    content["folds"][0]["validation"] = content["folds"][0]["validation"][:cases]
    splits.write_text(json.dumps(content))


def trial_of(bundle: Path, work: Path) -> Path:
    """A copy of the bundle with one held-out case, for trials that are to measure training steps."""
    copy = work / bundle.name
    shutil.copytree(bundle / "configs", copy / "configs", dirs_exist_ok=True)
    hold_out(copy, 1)
    return copy


def work_of(folder: Path, key: tuple[str, str]) -> Path:
    return folder / "runs" / "_".join(key)


def run(bundle: Path, folder: Path, key: tuple[str, str], arguments: argparse.Namespace) -> dict:
    """Train and measure one network, or read what an earlier command measured."""
    work = work_of(folder, key)
    done = work / "result.json"
    if not done.is_file():
        steps_file = work / "seconds_per_step.json"
        if not steps_file.is_file():
            work.mkdir(parents=True, exist_ok=True)
            seconds = seconds_per_step(trial_of(bundle, work), work / "trial")
            steps_file.write_text(json.dumps(seconds))
        seconds = json.loads(steps_file.read_text())
        per_epoch = max(1, round(arguments.cpu_minutes * 60 / seconds / EPOCHS))
        cost = train(bundle, work, per_epoch, arguments)
        row = {"steps": per_epoch * EPOCHS, "cpu_min": cost / 60, **evaluate(bundle, work)}
        done.write_text(json.dumps(row, indent=1))
    return json.loads(done.read_text())


def train(bundle: Path, work: Path, per_epoch: int, arguments: argparse.Namespace) -> float:
    """CPU seconds of the training; a finished one is not repeated."""
    finished = work / "training_cpu_s.json"
    if not finished.is_file():
        steps = per_epoch * EPOCHS
        command = [
            *monai("training", bundle, "train.json"), *places(work), "--epochs", str(EPOCHS),
            "--iterations_per_epoch", str(per_epoch), "--val_interval", "1000", "--model_selection", "last",
            "--warmup_iterations", str(round(WARMUP_SHARE * steps)), "--seed", str(arguments.seed),
        ]  # fmt: skip
        with hold(work) as held:
            cost = run_logged(command, log=work / "training.log", threads=1, held=held)
        finished.write_text(json.dumps(cost.cpu_s))
    return json.loads(finished.read_text())


def evaluate(bundle: Path, work: Path) -> dict:
    """Dice without prompts on the whole held-out fold."""
    with hold(work) as held:
        command = [*monai("evaluating", bundle, "train.json", "evaluate.json"), *places(work)]
        run_logged(command, log=work / "evaluating.log", threads=1, held=held)
    scores = json.loads((work / "validation/metrics.json").read_text())["summary"]
    dice = {score["label"]: score["mean"] for score in scores if score["metric"] == "dice"}
    return {"dice": dice.pop(OVERALL), "classes": dice}


def measure_prompted(bundle: Path, work: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Mean Dice over classes and cases by kind of prompt: `pgsam evaluate --interaction`."""
    command = [
        sys.executable, "-m", "pgsam_monai.cli", "evaluate", str(bundle), "--interaction", "--cases",
        str(arguments.prompted_cases), "--seeds", f"{arguments.seed},", *places(work),
    ]  # fmt: skip
    with hold(work) as held:
        run_logged(command, log=work / "prompted.log", threads=1, held=held)
    rows = json.loads((work / "validation/interaction.json").read_text())["dice"]
    return {row["prompts"]: row["mean"] for row in rows if row["label"] == OVERALL}


def monai(run_id: str, bundle: Path, *configs: str) -> list[str]:
    files = [str(bundle / "configs" / name) for name in configs]
    given = files[0] if len(files) == 1 else str(files)
    return [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        run_id,
        "--config_file",
        given,
        "--bundle_root",
        str(bundle),
    ]


def places(work: Path) -> list[str]:
    return ["--ckpt_dir", str(work / "models"), "--output_dir", str(work)]


def print_prompted(measured: dict[str, dict[str, float]]) -> None:
    """Med-SA's answers, a column per start."""
    print("\n| Med-SA's prompts, a slice | " + " | ".join(measured) + " |")
    print("|---" * (1 + len(measured)) + "|")
    for kind in next(iter(measured.values()), {}):
        print(f"| {kind} | " + " | ".join(f"{scores[kind]:.3f}" for scores in measured.values()) + " |")


if __name__ == "__main__":
    main()
