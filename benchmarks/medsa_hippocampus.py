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
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from equal_minutes import hold_out, places, run  # noqa: E402

from pgsam_monai.base.child_processes import run_logged  # noqa: E402
from pgsam_monai.base.locks import hold  # noqa: E402
from pgsam_monai.metrics.summary import OVERALL  # noqa: E402

STARTS = {"LiteMedSAM": [], "random": ["weights=null"]}
"""Where the networks start, and the override that says so."""


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    bundles = {}
    for start, overrides in STARTS.items():
        plan_bundles(folder / start, overrides, arguments)
        for network in arguments.networks.split(","):
            bundles[network, start] = folder / start / f"bundles/{network}_data"
    with ThreadPoolExecutor(arguments.parallel) as pool:
        rows = list(pool.map(lambda key: run_with_users(bundles[key], folder, key, arguments), bundles))
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
    from preprocess.commands.main import plan

    plan(
        str(arguments.dataset.resolve()), networks=arguments.networks, name="data", target="cpu",
        backbone="lite_medsam", resolution=arguments.resolution, few_shot=arguments.few_shot,
        override=[*overrides, f"batch_size={arguments.batch_size}", "num_workers=0", *arguments.override],
        plans_dir=str(folder / "plans"), bundles_dir=str(folder / "bundles"),
    )  # fmt: skip
    for bundle in folder.glob("bundles/*"):
        hold_out(bundle, arguments.held_out)


def run_with_users(bundle: Path, folder: Path, key: tuple[str, str], arguments: argparse.Namespace) -> dict:
    """As `equal_minutes.run`, and what Med-SA answers to simulated users."""
    work = folder / "runs" / "_".join(key)
    row, prompted = run(bundle, work, arguments), work / "prompted.json"
    if key[0] != "medsa":
        return row
    if not prompted.is_file():
        prompted.write_text(json.dumps(measure_prompted(bundle, work, arguments)))
    return {**row, "prompted": json.loads(prompted.read_text())}


def measure_prompted(bundle: Path, work: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Mean Dice over classes and cases by kind of prompt: `pgsam evaluate --interaction`."""
    command = [
        sys.executable, "-m", "pgsam_monai.commands.main", "evaluate", str(bundle), "--interaction", "--cases",
        str(arguments.prompted_cases), "--seeds", f"{arguments.seed},", *places(work),
    ]  # fmt: skip
    with hold(work) as held:
        run_logged(command, log=work / "prompted.log", threads=1, held=held)
    rows = json.loads((work / "validation/interaction.json").read_text())["dice"]
    return {row["prompts"]: row["mean"] for row in rows if row["label"] == OVERALL}


def print_prompted(measured: dict[str, dict[str, float]]) -> None:
    """Med-SA's answers, a column per start."""
    print("\n| Med-SA's prompts, a slice | " + " | ".join(measured) + " |")
    print("|---" * (1 + len(measured)) + "|")
    for kind in next(iter(measured.values()), {}):
        print(f"| {kind} | " + " | ".join(f"{scores[kind]:.3f}" for scores in measured.values()) + " |")


if __name__ == "__main__":
    main()
