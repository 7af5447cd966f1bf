"""Where a network starts: trainings on few cases from random and from pretrained weights, at equal CPU minutes.

    python benchmarks/few_cases.py /data/Task04_Hippocampus --cpu_minutes 5 --cases 2,5,10 --seeds 3 --image_size 128
    python benchmarks/few_cases.py /data/ACDC --networks samed,hsam --cases 1,3 --held_out 10 --folder acdc
    python benchmarks/few_cases.py /data/ACDC --start_file run/model.safetensors --start_override \
        drawn_tiny:encoder_training=full

Plans the data set for a CPU once per start, with the backbone that the start belongs to; measures how many CPU seconds
a step of each network from each start takes, and gives each as many steps as fit into --cpu_minutes; start-up comes on
top. All train on the same drawn cases (of patients, with all their cases, where several cases show one), one thread
each, and take turns. The last network is measured without prompts on the first --held_out cases of fold 0, none of
which shows a patient of a training. Prints a table in Markdown; FOLDER holds the figure, the CSV and every run, and the
same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from ablation import hold_out  # noqa: E402
from equal_minutes import WARMUP_SHARE, trial_of  # noqa: E402
from few_shot_curves import EPOCHS, measure_steps, numbers, subset, table  # noqa: E402

from pgsam_monai.base.child_processes import Cost, run_logged  # noqa: E402
from pgsam_monai.base.command_line import told  # noqa: E402
from pgsam_monai.base.errors import UserFault  # noqa: E402
from pgsam_monai.base.weights import KNOWN_WEIGHTS  # noqa: E402
from pgsam_monai.evaluation.few_shot import Curve, make_curve, run_curves  # noqa: E402
from pgsam_monai.evaluation.few_shot_results import draw_curves, read_rows, write_results  # noqa: E402

RANDOM, OF_FILE = "random", "drawn_tiny"
TINY = "vit_tiny"


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    bundles = plan_all(folder, arguments)
    trials = {title: trial_of(bundle, folder / "trials" / title) for title, bundle in bundles.items()}
    seconds = measure_steps(trials, folder, arguments.parallel)
    curves = {}
    for title, bundle in bundles.items():
        per_epoch = steps_per_epoch(seconds[title], arguments.cpu_minutes)
        told_of = f"{title}: {seconds[title]:.3f} CPU s a step, {EPOCHS} epochs of {per_epoch} steps"
        print(told_of, flush=True)
        curves[title] = curve_of(bundle, folder / "runs" / title, per_epoch, arguments)
    run_curves(list(curves.values()), parallel=arguments.parallel, call=on_one_thread)
    report(curves, folder)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("dataset", type=Path, help="a data set's folder")
    add("--networks", type=words, default=["samed"], help="separated by commas")
    add("--starts", type=words, default=[RANDOM, OF_FILE, "lite_medsam"], help="random, or names of weights")
    add("--start_file", type=Path, help=f"the weights that the start {OF_FILE} has, of {TINY}")
    add("--cases", type=numbers, default="2,5,10", help="sizes of the training list; of patients, see above")
    add("--seeds", type=int, default=3, help="how many; each draws other cases and other random weights")
    add("--cpu_minutes", type=float, default=5.0, help="of training steps, for every run")
    add("--held_out", type=int, default=20, help="cases of fold 0 that are measured")
    add("--image_size", type=int, help="side of the networks' input; else as planned")
    add("--override", action="append", default=[], help="of every plan, such as samed.batch_size=8")
    add(
        "--start_override", action="append", default=[],
        help=f"of one start's plan alone, such as {OF_FILE}:encoder_training=full",
    )  # fmt: skip
    add("--parallel", type=int, default=1, help="runs at a time, one thread each")
    add("--folder", type=Path, default=Path("few_cases"), help="where everything goes")
    return parser.parse_args()


def words(text: str) -> list[str]:
    return text.split(",")


def start_overrides(start: str, arguments: argparse.Namespace) -> list[str]:
    """What a start says of its plan: its backbone and weights, and what the user wants otherwise.

    Raises:
        UserFault: neither "random" nor known weights, or of an encoder of texts.
    """
    if start == RANDOM:
        found = [f"backbone={TINY}", "weights=null"]
    elif start == OF_FILE and arguments.start_file:
        if not arguments.start_file.is_file():
            raise UserFault(f"--start_file: there is no '{arguments.start_file}'.")
        found = [f"backbone={TINY}", f"weights={arguments.start_file.resolve()}"]
    elif start in KNOWN_WEIGHTS:
        found = [f"backbone={KNOWN_WEIGHTS[start].backbone}", f"weights={start}"]
    else:
        hint = "; give its file as --start_file" if start == OF_FILE else ""
        known = ", ".join([RANDOM, *KNOWN_WEIGHTS])
        raise UserFault(f"--starts: must be of {known}, got '{start}'{hint}.")
    own = (wish.partition(":") for wish in arguments.start_override)
    return [*found, *(wish for name, _, wish in own if name == start)]


def plan_all(folder: Path, arguments: argparse.Namespace) -> dict[str, Path]:
    """Bundles by network and start; planned again every time, which gives the same bytes."""
    from preprocess.commands.main import plan

    wishes = {start: start_overrides(start, arguments) for start in arguments.starts}
    bundles = {}
    for start, own in wishes.items():
        place = folder / "planned" / start
        plan(
            str(arguments.dataset.resolve()), networks=",".join(arguments.networks), name="data", target="cpu",
            resolution=arguments.image_size, override=["num_workers=0", *arguments.override, *own],
            plans_dir=str(place / "plans"), bundles_dir=str(place / "bundles"),
        )  # fmt: skip
        for network in arguments.networks:
            bundles[f"{network}_{start}"] = place / f"bundles/{network}_data"
    for bundle in bundles.values():
        hold_out(bundle, arguments.held_out)
    return bundles


def steps_per_epoch(seconds: float, cpu_minutes: float) -> int:
    """Of `EPOCHS` epochs that last so many minutes, `seconds` a step; at least 1."""
    return max(1, round(cpu_minutes * 60 / seconds / EPOCHS))


def curve_of(bundle: Path, folder: Path, per_epoch: int, arguments: argparse.Namespace) -> Curve:
    budget = {
        "epochs": EPOCHS,
        "iterations_per_epoch": per_epoch,
        "warmup_iterations": round(WARMUP_SHARE * EPOCHS * per_epoch),
    }
    return make_curve(
        bundle, subset, cases=arguments.cases, seeds=range(arguments.seeds), overrides=budget, folder=folder
    )


def on_one_thread(command: Sequence[str], **options: object) -> Cost:
    return run_logged(command, **{**options, "threads": 1})


def report(curves: Mapping[str, Curve], folder: Path) -> None:
    """Table, CSV and figure of all finished runs."""
    rows = {
        title: [replace(row, network=title) for row in read_rows(curve.folder)]
        for title, curve in curves.items()
    }
    (units,) = {curve.units for curve in curves.values()}
    write_results([row for several in rows.values() for row in several], folder)
    draw_curves(rows, folder / "few_cases.png", units=units)
    print(f"\nTraining {units} per run; mean ± standard deviation over seeds of the held-out cases' Dice\n")
    print(table(rows).replace("| network |", "| network and start |", 1).replace(" case", f" {units[:-1]}"))
    print(f"\n{folder / 'few_cases.png'}\n{folder / 'few_shot.csv'}")


if __name__ == "__main__":
    with told("few_cases"):
        main()
