"""What the ablation scripts share: phantoms and their plan, a process per run, results on disk, tables.

A script makes its rows, calls ``prepare`` and ``run_rows`` and prints what it wants of the results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

MEAN = "mean"
"""What an evaluation calls the mean over all structures."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: a network of the plan, and what is changed in its bundle."""

    title: str
    network: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    """Of entries of the bundle's configs, as in {"network_def#pixel_decoder": False}."""
    trained_as: str | None = None
    """Title of the row whose trained networks are measured; None for a row that trains its own."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one row gave with one seed."""

    dice: Mapping[str, float]
    """Mean over the held-out cases by structure, and over the structures as "mean"."""
    cpu_s: float | None
    """Processor seconds of the training command, start-up included; None where nothing was trained."""


class Results:
    """Outcomes by row and seed, on disk after each, beside the settings that they were measured with."""

    def __init__(self, file: Path, settings: Mapping[str, object]) -> None:
        self.file, self.settings, self._lock = file, dict(settings), threading.Lock()
        content = json.loads(file.read_text()) if file.is_file() else {}
        before = content.get("settings", self.settings if not content else None)
        if before != self.settings:
            sys.exit(
                f"{file} was written with settings {before}, now they are {self.settings}: name another --folder."
            )
        self._outcomes = {name: Outcome(**entry) for name, entry in content.get("outcomes", {}).items()}

    def find(self, row: Row, seed: int) -> Outcome | None:
        return self._outcomes.get(_name(row.title, seed))

    def add(self, row: Row, seed: int, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[_name(row.title, seed)] = outcome
            outcomes = {name: asdict(entry) for name, entry in self._outcomes.items()}
            partial = self.file.with_suffix(".partial")
            partial.write_text(json.dumps({"settings": self.settings, "outcomes": outcomes}, indent=1))
            partial.replace(self.file)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Where everything lies: a bundle per network, all of one plan, and the results so far."""

    folder: Path
    bundles: Mapping[str, Path]
    seeds: Sequence[int]
    results: Results


def make_parser(description: str, *, folder: str) -> argparse.ArgumentParser:
    """The arguments that all ablations have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(folder), help="where data, bundles and results go"
    )
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, separated by commas")
    parser.add_argument("--dataset", type=Path, help="a data set's folder; phantoms are drawn otherwise")
    parser.add_argument("--cases", type=int, default=30, help="phantoms to draw")
    parser.add_argument("--few_shot", type=int, default=0, help="training cases to draw; 0 for all of fold 0")
    parser.add_argument(
        "--held_out", type=int, default=0, help="cases of fold 0 that are measured; 0 for all"
    )
    parser.add_argument("--resolution", type=int, default=128, help="input side of the networks")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each")
    return parser


def prepare(
    arguments: argparse.Namespace, networks: Sequence[str], overrides: Sequence[str] = ()
) -> Experiment:
    """Data, plan and bundles, made once, every volume preprocessed, so that no training is charged for that.

    ``overrides`` of the plan, such as "refsam3d.batch_size=1".
    """
    folder = arguments.folder.resolve()
    settings = {name: getattr(arguments, name) for name in ("cases", "resolution", "epochs")}
    if arguments.dataset:
        settings["cases"] = str(arguments.dataset.resolve())
    settings |= {name: value for name in ("few_shot", "held_out") if (value := getattr(arguments, name))}
    settings |= {"overrides": list(overrides)} if overrides else {}
    results = Results(folder / "results.json", settings)
    bundles = {name: folder / f"bundles/{name}_phantom" for name in networks}
    if not results.file.is_file():
        data = str(_data(arguments, folder))
        call(
            "preprocess.commands.main", data, f"--networks={','.join(networks)}", "--target=cpu",
            "--name=phantom", *([f"--resolution={arguments.resolution}"] if arguments.resolution else []),
            *([f"--few_shot={arguments.few_shot}"] if arguments.few_shot else []),
            "--override=model_selection=last",
            f"--override=epochs={arguments.epochs}", f"--override=val_interval={arguments.epochs}",
            f"--plans_dir={folder / 'plans'}", f"--bundles_dir={folder / 'bundles'}",
            *(f"--override={override}" for override in overrides),
        )  # fmt: skip
        for bundle in bundles.values():
            if arguments.held_out:
                hold_out(bundle, arguments.held_out)
            run_bundle(bundle, "preparing", "train", preparing="$[@train#dataset, @validate#dataset]")
    seeds = [int(seed) for seed in str(arguments.seeds).split(",")]
    return Experiment(folder=folder, bundles=bundles, seeds=seeds, results=results)


def hold_out(bundle: Path, cases: int) -> None:
    """Leave the first few of the held-out cases: a CPU measures them slowly."""
    splits = bundle / "configs/splits.json"
    content = json.loads(splits.read_text())
    content["folds"][0]["validation"] = content["folds"][0]["validation"][:cases]
    splits.write_text(json.dumps(content))


def _data(arguments: argparse.Namespace, folder: Path) -> Path:
    """The data set's folder, of phantoms drawn now where none was named."""
    if arguments.dataset:
        return arguments.dataset.resolve()
    from pgsam_monai.data.phantom import write_phantom

    write_phantom(folder / "phantom", cases=arguments.cases, seed=0)
    return folder / "phantom"


def run_rows(rows: Sequence[Row], experiment: Experiment, *, parallel: int) -> None:
    """Runs what has no outcome yet, seed by seed; rows that measure another's networks come last."""
    for borrowing in (False, True):
        jobs = [
            (row, seed)
            for seed in experiment.seeds
            for row in rows
            if (row.trained_as is not None) is borrowing
        ]
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(lambda job: _run(*job, experiment), jobs))


def _run(row: Row, seed: int, experiment: Experiment) -> None:
    if experiment.results.find(row, seed) is not None:
        return
    runs, bundle = experiment.folder / "runs", experiment.bundles[row.network]
    models = runs / _folder(row.trained_as or row.title, seed) / "models"
    output = runs / _folder(row.title, seed)
    overrides = {**row.overrides, "seed": seed, "ckpt_dir": models, "output_dir": output}
    cpu_s = None
    if row.trained_as is None:
        cpu_s = run_bundle(bundle, "training", "train", **overrides)
    run_bundle(bundle, "evaluating", "train", "evaluate", **overrides)
    outcome = Outcome(dice=read_dice(output / "validation/metrics.json"), cpu_s=cpu_s)
    experiment.results.add(row, seed, outcome)
    print(f"{_name(row.title, seed)}: {outcome.dice[MEAN]:.4f}", flush=True)


def run_bundle(bundle: Path, task: str, *configs: str, **overrides: object) -> float:
    """A bundle's task in its own process; its processor seconds. Overrides arrive as Python reads them."""
    files = [str(bundle / f"configs/{name}.json") for name in configs]
    words = [f"--{name}={value}" for name, value in {"bundle_root": bundle, **overrides}.items()]
    return call("monai.bundle", "run", task, "--config_file", str(files), *words)


def call(module: str, *words: str) -> float:
    """Run a module in its own process with one thread; its output is shown only when it fails.

    Returns:
        The processor seconds that it and the processes that it waited for took (POSIX only).
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words], stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
        if process.returncode:
            output.seek(0)
            sys.exit(f"{module} {' '.join(words)}\n{output.read()[-6000:]}")
    return usage.ru_utime + usage.ru_stime


def read_dice(metrics: Path) -> dict[str, float]:
    """Mean Dice by structure, and as "mean", of an evaluation's metrics.json."""
    summary = json.loads(metrics.read_text())["summary"]
    return {entry["label"]: entry["mean"] for entry in summary if entry["metric"] == "dice"}


def smallest_classes(plan: Path, count: int) -> list[str]:
    """The structures that fill the fewest voxels, rarest first, by the frequencies in plan.json."""
    decisions = json.loads(plan.read_text())["decisions"]
    names, shares = (decisions[key]["value"] for key in ("label_names", "class_frequencies"))
    ranked = sorted(zip(shares[1:], names[1:], strict=True))  # the background is no structure
    return [name for _, name in ranked[:count]]


def print_table(
    heading: str, rows: Sequence[Row], experiment: Experiment, value: Callable[[Outcome], float]
) -> None:
    """Markdown: a row's values by seed, their mean ± standard deviation, processor seconds per training."""
    seeds = experiment.seeds
    columns = [
        heading,
        *(f"seed {seed}" for seed in seeds),
        "mean ± standard deviation",
        "CPU s per training",
    ]
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        outcomes = [experiment.results.find(row, seed) for seed in seeds]
        values = [value(outcome) for outcome in outcomes]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        times = [outcome.cpu_s for outcome in outcomes if outcome.cpu_s is not None]
        cells = [*(f"{one:.4f}" for one in values), f"{statistics.mean(values):.4f} ± {spread:.4f}"]
        print("| " + " | ".join([row.title, *cells, f"{statistics.mean(times):.0f}" if times else ""]) + " |")


def _name(title: str, seed: int) -> str:
    return f"{title}; seed {seed}"


def _folder(title: str, seed: int) -> str:
    return re.sub(r"\W+", "_", f"{title}_{seed}").lower()
