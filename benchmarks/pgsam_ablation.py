"""Table 2 of the PG-SAM paper on drawn phantoms: four rows, several seeds, the same steps; and what texts are worth.

    python benchmarks/pgsam_ablation.py --folder ablation --seeds 0,1,2

Draws 30 phantom abdomens (shapes, not patients), plans them for a CPU, and trains every row from random weights with
every seed, keeping the last network, so that the held-out cases have no say. Then the whole network is measured again
with its class texts exchanged among the structures. Every finished run is kept in results.json of the folder; started
again, the script goes on. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROWS = ("1_baseline", "2_aligner", "3_fusion", "4_full")
WHOLE = ROWS[-1]


def main() -> None:
    arguments = read_arguments()
    folder = arguments.folder.resolve()
    bundle = prepare(folder, arguments)
    seeds = [int(seed) for seed in str(arguments.seeds).split(",")]
    jobs = [(row, seed, None) for seed in seeds for row in ROWS]
    jobs += [(WHOLE, seed, order) for seed in seeds for order in range(arguments.shuffles)]
    results = Results(folder / "results.json")
    trainings, shuffles = [job for job in jobs if job[2] is None], [job for job in jobs if job[2] is not None]
    for batch in (trainings, shuffles):  # texts are exchanged in networks that must have been trained
        with ThreadPoolExecutor(arguments.parallel) as pool:
            list(pool.map(lambda job: run_job(job, bundle, folder, results), batch))
    print_tables(results, seeds, arguments.shuffles)


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
    parser.add_argument("--shuffles", type=int, default=2, help="random exchanges of the texts per seed")
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


def run_job(job: tuple[str, int, int | None], bundle: Path, folder: Path, results: Results) -> None:
    """Train a row, or exchange the texts of a trained one, and measure it; nothing where that was done."""
    row, seed, order = job
    name = f"{row} seed {seed}" + ("" if order is None else f" texts {order}")
    if name in results.values:
        return
    work = folder / "runs" / f"{row}_{seed}"
    common = ["--bundle_root", str(bundle), "--ckpt_dir", str(work / "models"), "--seed", str(seed)]
    configs = [str(bundle / f"configs/{config}.json") for config in ("train", f"ablation_{row}")]
    if order is None:
        call(
            "monai.bundle",
            "run",
            "training",
            "--config_file",
            str(configs),
            "--output_dir",
            str(work),
            *common,
        )
    else:
        common += ["--texts_file", str(shuffled_texts(bundle, folder, order))]
    configs.insert(1, str(bundle / "configs/evaluate.json"))
    output = work if order is None else work / f"texts_{order}"
    call(
        "monai.bundle",
        "run",
        "evaluating",
        "--config_file",
        str(configs),
        "--output_dir",
        str(output),
        *common,
    )
    summary = json.loads((output / "validation/metrics.json").read_text())["summary"]
    dice = next(entry["mean"] for entry in summary if entry["label"] == "mean" and entry["metric"] == "dice")
    results.add(name, dice)
    print(f"{name}: {dice:.4f}", flush=True)


def shuffled_texts(bundle: Path, folder: Path, order: int) -> Path:
    """A texts file in which every structure has another's description; the background keeps its own."""
    texts = json.loads((bundle / "configs/texts.json").read_text())
    names = list(texts)[1:]
    others = names.copy()
    generator = random.Random(order)
    while any(a == b for a, b in zip(names, others, strict=True)):
        generator.shuffle(others)
    file = folder / f"texts_{order}.json"
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


def print_tables(results: Results, seeds: list[int], shuffles: int) -> None:
    print("\n| row | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean ± standard deviation |")
    print("|---" * (len(seeds) + 2) + "|")
    for row in ROWS:
        show(row, [results.values[f"{row} seed {seed}"] for seed in seeds])
    for order in range(shuffles):
        show(
            f"4_full, texts exchanged ({order})",
            [results.values[f"{WHOLE} seed {s} texts {order}"] for s in seeds],
        )


def show(title: str, values: list[float]) -> None:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    figures = " | ".join(f"{value:.4f}" for value in values)
    print(f"| {title} | {figures} | {statistics.mean(values):.4f} ± {spread:.4f} |")


if __name__ == "__main__":
    main()
