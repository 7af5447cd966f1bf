"""Few-shot curves of several networks on one data set, each with the same CPU minutes of training steps per run.

    python benchmarks/few_shot_curves.py --networks samed,pgsam --cases 3,5,10,20 --seeds 3 --cpu_minutes 2

Plans the data set (30 drawn phantom abdomens, shapes and not patients, unless DATASET is given) once for all networks,
measures with short trainings how many CPU seconds a step of each takes, and gives each as many steps as fit into
--cpu_minutes; start-up and the validation at the end come on top. All networks train from their plan's weights on the
same drawn cases, take turns, and share the machine alike: --parallel runs at a time, trainings and evaluations with one
thread each. The last network is measured on the held-out fold. Prints a table in Markdown; FOLDER holds the figure, the
CSV and every run, and the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from pgsam_monai.base.child_processes import run_logged  # noqa: E402
from pgsam_monai.base.files import write_text  # noqa: E402
from pgsam_monai.base.locks import hold  # noqa: E402
from pgsam_monai.evaluation.few_shot import Curve, make_curve, run_curves  # noqa: E402
from pgsam_monai.evaluation.few_shot_results import (  # noqa: E402
    Row,
    by_cases,
    draw_curves,
    read_rows,
    spread,
    write_results,
)
from preprocess.splits.few_shot import few_shot_splits  # noqa: E402
from preprocess.splits.records import Splits  # noqa: E402

EPOCHS = 20
"""Into which each training is divided: checkpoints, and schedules that go by epoch."""
SHORT_STEPS = 8
MIDDLE_STEPS = 40
TRIAL_CPU_S = 20.0
"""How much longer the long trial should take than the short one, so that start-up's noise is small beside it."""


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    networks = arguments.networks.split(",")
    bundles = plan_all(folder, networks, arguments)
    seconds = measure_steps(bundles, folder, arguments.parallel)
    curves = {}
    for network in networks:
        per_epoch = max(1, round(arguments.cpu_minutes * 60 / seconds[network] / EPOCHS))
        print(
            f"{network}: {seconds[network]:.3f} CPU s a step, {EPOCHS} epochs of {per_epoch} steps",
            flush=True,
        )
        curves[network] = curve_of(bundles[network], folder / network, per_epoch, arguments)
    run_curves(list(curves.values()), parallel=arguments.parallel)
    rows = {network: read_rows(curve.folder) for network, curve in curves.items()}
    write_results([row for several in rows.values() for row in several], folder)
    draw_curves(rows, folder / "few_shot.png")
    print(table(rows))
    print(f"\n{folder / 'few_shot.png'}\n{folder / 'few_shot.csv'}")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "dataset", nargs="?", type=Path, help="a data set's folder; phantoms are drawn otherwise"
    )
    parser.add_argument("--networks", default="samed,pgsam", help="separated by commas")
    parser.add_argument("--cases", type=numbers, default="3,5,10,20", help="sizes of the training list")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--cpu_minutes", type=float, default=2.0, help="of training steps, for every run")
    parser.add_argument("--resolution", type=int, default=128, help="input side of the networks")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--phantoms", type=int, default=30, help="how many to draw")
    parser.add_argument("--folder", type=Path, default=Path("few_shot_curves"), help="where everything goes")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def plan_all(folder: Path, networks: Sequence[str], arguments: argparse.Namespace) -> dict[str, Path]:
    """A bundle per network, on the same splits; planned again every time, which gives the same bytes."""
    from preprocess.commands.main import plan

    dataset = arguments.dataset
    if dataset is None:
        from pgsam_monai.data.phantom import write_phantom

        dataset = write_phantom(folder / "phantom", cases=arguments.phantoms, seed=0)
    plan(
        str(dataset.resolve()), networks=",".join(networks), name="data", target="cpu",
        resolution=arguments.resolution, plans_dir=str(folder / "plans"), bundles_dir=str(folder / "bundles"),
    )  # fmt: skip
    return {network: folder / f"bundles/{network}_data" for network in networks}


def measure_steps(bundles: Mapping[str, Path], folder: Path, parallel: int) -> dict[str, float]:
    """CPU seconds of one training step by network, kept in steps.json: a curve's budget must not change half-way."""
    file = folder / "steps.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    missing = [network for network in bundles if network not in known]
    # As many at a time as the curves will have: they compete for caches and memory.
    with ThreadPoolExecutor(parallel) as pool:
        measured = pool.map(
            lambda network: seconds_per_step(bundles[network], folder / "trials" / network), missing
        )
        for network, seconds in zip(missing, measured, strict=True):
            known[network] = seconds
            write_text(file, json.dumps(known, indent=1))
    return known


def seconds_per_step(bundle: Path, work: Path) -> float:
    """From the difference between a long and a short training, in which start-up and validation cancel out."""
    trial(bundle, work, 1)  # preprocesses all cases
    short, middle = trial(bundle, work, SHORT_STEPS), trial(bundle, work, MIDDLE_STEPS)
    rough = max((middle - short) / (MIDDLE_STEPS - SHORT_STEPS), 0.002)
    if middle - short >= TRIAL_CPU_S:
        return rough
    steps = round(TRIAL_CPU_S / rough)
    return (trial(bundle, work, SHORT_STEPS + steps) - short) / steps


def trial(bundle: Path, work: Path, steps: int) -> float:
    """CPU seconds of a training of so many steps, one thread."""
    command = [
        sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(bundle / "configs/train.json"),
        "--bundle_root", str(bundle), "--ckpt_dir", str(work / "models"), "--output_dir", str(work), "--epochs", "1",
        "--iterations_per_epoch", str(steps), "--val_interval", "1", "--warmup_iterations", "1",
        "--model_selection", "last",
    ]  # fmt: skip
    with hold(work) as held:
        return run_logged(command, log=work / "training.log", threads=1, held=held).cpu_s


def curve_of(bundle: Path, folder: Path, per_epoch: int, arguments: argparse.Namespace) -> Curve:
    warmup = json.loads((bundle / "configs/train.json").read_text())["warmup_iterations"]
    budget = {
        "epochs": EPOCHS,
        "iterations_per_epoch": per_epoch,
        "warmup_iterations": min(warmup, EPOCHS * per_epoch // 10),
    }
    return make_curve(
        bundle, subset, cases=arguments.cases, seeds=range(arguments.seeds), overrides=budget, folder=folder
    )


def subset(record: Mapping, cases: int, seed: int) -> dict:
    return few_shot_splits(Splits.from_json(record), cases, seed).to_json()


def table(rows: Mapping[str, Sequence[Row]]) -> str:
    """Mean ± standard deviation of Dice, a line per network, a column per number of cases, in Markdown."""
    points = {network: by_cases(several) for network, several in rows.items()}
    sizes = sorted({cases for scores in points.values() for cases in scores})
    lines = [
        "| network | steps | CPU min a run | "
        + " | ".join(f"{size} case{'s' if size > 1 else ''}" for size in sizes)
        + " |",
        "|---|---|---|" + "---|" * len(sizes),
    ]
    for network, scores in points.items():
        steps = "/".join(sorted({str(row.steps) for row in rows[network]}))
        minutes = mean(row.cpu_s for row in rows[network]) / 60
        cells = [
            f"{mean(scores[size]):.3f} ± {spread(scores[size]):.3f}" if size in scores else ""
            for size in sizes
        ]
        lines.append(f"| {network} | {steps} | {minutes:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
