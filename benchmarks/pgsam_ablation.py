"""Table 2 of the PG-SAM paper on drawn phantoms: its four rows and their neighbours, several seeds, the same steps.

    python benchmarks/pgsam_ablation.py --folder ablation --seeds 0,1,2

Draws 30 phantom abdomens (shapes, not patients), plans them for a CPU, and trains every row from random weights with
every seed, keeping the last network, so that the held-out cases have no say. What texts are worth is measured twice:
the whole network is trained with every structure described by another's text, and the properly trained one is measured
with its texts exchanged afterwards. Every finished run is kept in results.json of the folder; started again, the script
goes on. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROWS = {
    "I nothing": (False, False, False),
    "II aligner": (True, False, False),
    "III aligner, fusion": (True, True, False),
    "IV aligner, fusion, optimizer": (True, True, True),
    "fusion": (False, True, False),
    "optimizer": (False, False, True),
    "fusion, optimizer": (False, True, True),
}
"""The paper's four and what else there is: prior_aligner, feature_fusion, mask_optimizer."""
WHOLE = "IV aligner, fusion, optimizer"
MISNAMED = "IV, trained on other structures' texts"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to train, or, with `exchange`, a trained one to be measured with its texts exchanged."""

    row: str
    seed: int
    exchange: int | None = None

    @property
    def name(self) -> str:
        return f"{self.row}; seed {self.seed}" + (
            "" if self.exchange is None else f"; exchange {self.exchange}"
        )

    @property
    def folder(self) -> str:
        return re.sub(r"\W+", "_", f"{self.row}_{self.seed}").lower()


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    bundle = prepare(folder, arguments)
    seeds = [int(seed) for seed in str(arguments.seeds).split(",")]
    trainings = [Job(row=row, seed=seed) for seed in seeds for row in (*ROWS, MISNAMED)]
    exchanges = [
        Job(row=WHOLE, seed=s, exchange=number) for s in seeds for number in range(arguments.exchanges)
    ]
    results = Results(folder / "results.json")
    for jobs in (trainings, exchanges):  # texts are exchanged in networks that must have been trained
        with ThreadPoolExecutor(arguments.parallel) as pool:
            list(pool.map(lambda job: run_job(job, bundle, folder, results), jobs))
    print_table(results, seeds, arguments.exchanges)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("ablation"), help="where data, bundle and results go"
    )
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, separated by commas")
    parser.add_argument("--cases", type=int, default=30, help="phantoms to draw")
    parser.add_argument("--resolution", type=int, default=128, help="input side of the network")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training")
    parser.add_argument("--exchanges", type=int, default=2, help="random exchanges of the texts per seed")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each")
    return parser.parse_args()


class Results:
    """Mean Dice of the held-out cases by job, on disk."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}

    def add(self, name: str, value: float) -> None:
        self.values[name] = value
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(self.values, indent=1))
        partial.replace(self.file)


def prepare(folder: Path, arguments: argparse.Namespace) -> Path:
    """Data and bundle, made once."""
    bundle = folder / "bundles/pgsam_phantom"
    if not bundle.is_dir():
        from pgsam_monai.data.phantom import write_phantom

        write_phantom(folder / "phantom", cases=arguments.cases, seed=0)
        call(
            "preprocess.cli", str(folder / "phantom"), "--networks=pgsam", "--target=cpu", "--name=phantom",
            f"--resolution={arguments.resolution}", "--override=model_selection=last",
            f"--override=epochs={arguments.epochs}", f"--override=val_interval={arguments.epochs}",
            f"--plans_dir={folder / 'plans'}", f"--bundles_dir={folder / 'bundles'}",
        )  # fmt: skip
    return bundle


def run_job(job: Job, bundle: Path, folder: Path, results: Results) -> None:
    """Train and measure, or exchange texts and measure; nothing where that was done."""
    if job.name in results.values:
        return
    work = folder / "runs" / job.folder
    output = work if job.exchange is None else work / f"exchange_{job.exchange}"
    common = [
        "--bundle_root", str(bundle), "--ckpt_dir", str(work / "models"), "--output_dir", str(output),
        "--seed", str(job.seed), *switches(job.row),
    ]  # fmt: skip
    number = 0 if job.row == MISNAMED else job.exchange
    if number is not None:
        common += ["--texts_file", str(exchanged_texts(bundle, folder, number))]
    train, evaluate = (str(bundle / f"configs/{config}.json") for config in ("train", "evaluate"))
    if job.exchange is None:
        call("monai.bundle", "run", "training", "--config_file", train, *common)
    call("monai.bundle", "run", "evaluating", "--config_file", str([train, evaluate]), *common)
    summary = json.loads((output / "validation/metrics.json").read_text())["summary"]
    dice = next(entry["mean"] for entry in summary if entry["label"] == "mean" and entry["metric"] == "dice")
    results.add(job.name, dice)
    print(f"{job.name}: {dice:.4f}", flush=True)


def switches(row: str) -> list[str]:
    names = ("prior_aligner", "feature_fusion", "mask_optimizer")
    return [f"--network_def#{name}={on}" for name, on in zip(names, ROWS.get(row, ROWS[WHOLE]), strict=True)]


def exchanged_texts(bundle: Path, folder: Path, number: int) -> Path:
    """A texts file in which every structure has another's description; the background keeps its own."""
    texts = json.loads((bundle / "configs/texts.json").read_text())
    names = list(texts)[1:]
    others = names.copy()
    generator = random.Random(number)
    while any(a == b for a, b in zip(names, others, strict=True)):
        generator.shuffle(others)
    file = folder / f"texts_{number}.json"
    changed = {"background": texts["background"], **{a: texts[b] for a, b in zip(names, others, strict=True)}}
    file.write_text(json.dumps({name: changed[name] for name in texts}, indent=1))
    return file


def call(module: str, *words: str) -> None:
    """Run a module in its own process with one thread; its output is shown only when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{module} {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def print_table(results: Results, seeds: list[int], exchanges: int) -> None:
    print("\n| parts | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean ± standard deviation |")
    print("|---" * (len(seeds) + 2) + "|")
    for row in (*ROWS, MISNAMED):
        show(row, [results.values[Job(row=row, seed=seed).name] for seed in seeds])
    for number in range(exchanges):
        jobs = [Job(row=WHOLE, seed=seed, exchange=number) for seed in seeds]
        show(f"IV, texts exchanged afterwards ({number})", [results.values[job.name] for job in jobs])


def show(title: str, values: list[float]) -> None:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    figures = " | ".join(f"{value:.4f}" for value in values)
    print(f"| {title} | {figures} | {statistics.mean(values):.4f} ± {spread:.4f} |")


if __name__ == "__main__":
    main()
