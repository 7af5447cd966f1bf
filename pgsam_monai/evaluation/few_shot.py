"""The few-shot curve: the same training on 1, 3, 5, … labelled cases, several seeds each, measured on the same cases.

Every run (so many cases, one seed) has a folder of its own and is finished when `result.json` lies there. The same
command thus goes on after an interruption, and a half-trained run after its last epoch."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from pgsam_monai.base.child_processes import Cost, end_running, run_logged
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.locks import hold
from pgsam_monai.base.splits import by_subject
from pgsam_monai.bundle import Bundle
from pgsam_monai.evaluation.few_shot_results import Row, read_row, read_rows, write_results

Subset = Callable[[Mapping[str, Any], int, int], dict[str, Any]]
"""(contents of splits.json, cases, seed) -> contents with that many cases in every training list, nested by seed."""

SET_BY_THE_CURVE = (
    "splits_file", "ckpt_dir", "output_dir", "seed", "resume", "early_stop_epochs", "bundle_root",
)  # fmt: skip
CONFIGS = ("train.json", "evaluate.json")
STAMPED = ("train.json", "evaluate.json", "splits.json", "texts.json")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One network's curve: which runs, with which settings, and where they go."""

    bundle: Bundle
    folder: Path
    cases: tuple[int, ...]
    """sizes of the training list; of subjects, each with all its cases, where several cases show one"""
    seeds: tuple[int, ...]
    """each draws the cases and seeds the training"""
    overrides: Mapping[str, object]
    """values of train.json or evaluate.json that replace the bundle's in every run"""

    @property
    def units(self) -> str:
        """What is counted: "cases", or "subjects" where several cases show one."""
        return "subjects" if self.bundle.config("splits.json").get("subjects") else "cases"

    def value(self, name: str) -> Any:
        return self.overrides.get(name, self.bundle.config("train.json")[name])

    @property
    def network(self) -> str:
        """The network's name in plans."""
        return self.bundle.capabilities.network


@dataclass(frozen=True, kw_only=True)
class Run:
    """One point of a curve."""

    curve: Curve
    cases: int
    seed: int

    @property
    def folder(self) -> Path:
        return self.curve.folder / f"cases_{self.cases:03d}_seed_{self.seed}"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    def __str__(self) -> str:
        units = self.curve.units.removesuffix("" if self.cases > 1 else "s")
        return f"{self.curve.network}, {self.cases} {units}, seed {self.seed}"


def make_curve(
    bundle: str | Path, subset: Subset, *, cases: Sequence[int], seeds: Sequence[int],
    overrides: Mapping[str, object], folder: str | Path | None = None, say: Callable[[str], None] = print,
) -> Curve:  # fmt: skip
    """Check a curve's settings, claim its folder and draw all its subsets; nothing is trained.

    Unless the overrides say otherwise, the last network is the measured one (`model_selection`), so that held-out
    cases have no say in choosing it, and training validates at its end only.

    Args:
        bundle: the bundle's folder.
        subset: draws cases.
        cases: sizes of the training list.
        seeds: of subsets and trainings.
        overrides: values of train.json or evaluate.json.
        folder: where runs and results go; eval/few_shot of the bundle by default.
        say: hears what is unusual about the draws.

    Raises:
        FileNotFoundError: no bundle.
        ValueError: unknown overrides, more cases than the training list holds, a folder of other settings.
    """
    planned = Bundle(Path(bundle).resolve(), configs=CONFIGS, overrides=overrides)
    for name in SET_BY_THE_CURVE:
        if name in overrides:
            raise UserFault(f"few-shot curve: it sets --{name} of every run itself; leave it out.")
    folder = Path(folder).resolve() if folder else planned.folder / "eval/few_shot"
    curve = Curve(
        bundle=planned, folder=folder, cases=tuple(cases), seeds=tuple(seeds), overrides=dict(overrides)
    )
    honest = {"model_selection": "last", "val_interval": curve.value("epochs")}
    curve = replace(curve, overrides=honest | dict(overrides))
    _check_numbers(curve)
    _claim(curve)
    notes = {_draw(run, subset) for run in runs_of(curve)} - {curve.bundle.config("splits.json").get("note")}
    for note in notes - {None}:
        say(note)
    return curve


def runs_of(curve: Curve) -> list[Run]:
    """All runs, seed by seed."""
    return [Run(curve=curve, cases=cases, seed=seed) for seed in curve.seeds for cases in curve.cases]


def run_curves(
    curves: Sequence[Curve], *, parallel: int = 1, call: Callable[..., Cost] = run_logged,
    say: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Train and measure whatever isn't finished; tables are written after every run, figures at the end.

    Curves take turns, so that all of them share the machine alike.

    Args:
        curves: made by `make_curve`.
        parallel: runs at a time, each with one thread if there are several.
        call: runs a command, see `base.child_processes.run_logged`.
        say: hears a line per run.

    Raises:
        UserFault: a run ended with an error; finished ones stay.
    """
    every = sorted((run for curve in curves for run in runs_of(curve)), key=_turn(curves))
    todo = [run for run in every if not run.result.is_file()]
    if len(todo) < len(every):
        say(f"{len(every) - len(todo)} of {len(every)} runs are finished already.")
    started = time.monotonic()
    for done, (run, row) in enumerate(_finished(todo, parallel, call), 1):
        write_results(read_rows(run.curve.folder), run.curve.folder)
        left = len(todo) - done
        minutes = (time.monotonic() - started) / done * left / 60
        say(
            f"{run}: Dice {_shown(row.dice)} in {row.wall_s:.0f} s; {left} of {len(every)} runs left"
            + (f", about {minutes:.0f} min" if left else "")
        )
    for curve in curves:
        from pgsam_monai.evaluation.few_shot_results import draw_curves

        rows = read_rows(curve.folder)
        write_results(rows, curve.folder)
        draw_curves({curve.network: rows}, curve.folder / "few_shot.png", units=curve.units)


def _finished(runs: Sequence[Run], parallel: int, call: Callable[..., Cost]) -> Iterator[tuple[Run, Row]]:
    """Runs with their results as they finish; after a failure, which is raised, no further one begins."""
    failed = Event()

    def begin(run: Run) -> Row:
        if failed.is_set():  # this thread is free before the loop below hears of the failure
            raise CancelledError
        try:
            return do_run(run, 1 if parallel > 1 else None, call)
        except BaseException:
            failed.set()
            raise

    pool = ThreadPoolExecutor(parallel)
    try:
        futures = {pool.submit(begin, run): run for run in runs}
        for future in as_completed(futures):
            if not isinstance(future.exception(), CancelledError):
                yield futures[future], future.result()
    except (KeyboardInterrupt, SystemExit):
        end_running()
        raise
    finally:
        pool.shutdown(cancel_futures=True)  # runs that have begun end by themselves and are kept


def do_run(run: Run, threads: int | None, call: Callable[..., Cost]) -> Row:
    """Train and measure one run, from where it stands, in processes of their own."""
    cost_file = run.folder / "training.json"
    checkpoint = run.folder / "models/checkpoint_last.pt"
    with hold(run.folder) as held:
        if run.result.is_file():  # by an earlier command that was waited for
            return read_row(run.result)

        def step(run_id: str) -> Cost:
            log = run.folder / f"{run_id}.log"
            try:
                return call(command(run, run_id), log=log, threads=threads, held=held)
            except UserFault as fault:
                raise UserFault(f"few-shot curve: {run_id} of {run} failed with {fault}") from None

        if not cost_file.is_file():
            resumed = checkpoint.is_file()
            cost = step("training")
            write_text(cost_file, json.dumps({**asdict(cost), "resumed": resumed}))
        step("evaluating")
        remedy = "delete it, then that run is trained again"
        row = made_of(read_json(cost_file, remedy=remedy), partial(_row, run), file=cost_file, remedy=remedy)
        write_text(run.result, json.dumps(asdict(row), indent=1))
        checkpoint.unlink(missing_ok=True)  # as large as the network, several times; model.pt stays
    return row


def command(run: Run, run_id: str) -> list[str]:
    """The command of "training" or "evaluating", as one could type it."""
    bundle, folder, overrides = run.curve.bundle, run.folder, dict(run.curve.overrides)
    own, common = (set(bundle.config(name)) for name in ("evaluate.json", "train.json"))
    if run_id == "training":
        known, flags = common, {"resume": True, "early_stop_epochs": 0}
    else:
        # What evaluate.json takes back, such as pretrained weights, is training's alone.
        known, flags = own ^ common, {}
    overrides = {name: value for name, value in overrides.items() if _key(name) in known}
    flags |= {
        "splits_file": folder / "splits.json", "ckpt_dir": folder / "models",
        "output_dir": folder, "seed": run.seed, **overrides,
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = {"training": "train", "evaluating": "evaluate"}[run_id]
    return [sys.executable, "-m", "pgsam_monai.commands.main", command, str(bundle.folder), *words]


def _key(name: str) -> str:
    return name.replace("::", "#").split("#")[0]


def _turn(curves: Sequence[Curve]) -> Callable[[Run], tuple[int, int, int]]:
    """Seed by seed, size by size, one curve after the other."""
    places = {curve.folder: place for place, curve in enumerate(curves)}
    return lambda run: (run.curve.seeds.index(run.seed), run.cases, places[run.curve.folder])


def _check_numbers(curve: Curve) -> None:
    for what, numbers, least in (("cases", curve.cases, 1), ("seeds", curve.seeds, 0)):
        if not numbers or min(numbers) < least or len(set(numbers)) < len(numbers):
            raise UserFault(
                f"few-shot curve: {what} must be different whole numbers of at least {least}, got "
                f"{', '.join(map(str, numbers)) or 'none'}."
            )
    splits = curve.bundle.config("splits.json")
    available = min(len(by_subject(splits["cases"], fold["training"])) for fold in splits["folds"])
    if max(curve.cases) > available:
        raise UserFault(
            f"few-shot curve: {max(curve.cases)} {curve.units} were asked for, the bundle's training lists hold "
            f"{available}; ask for at most {available}."
        )


def _claim(curve: Curve) -> None:
    """Stamp the folder with what must not change within a curve; refuse one that was stamped otherwise."""
    settings = {f"--{name}": str(value) for name, value in sorted(curve.overrides.items())}
    for name in STAMPED:
        file = curve.bundle.config_file(name)
        if file.is_file():
            settings[f"configs/{name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    stamp = curve.folder / "settings.json"
    remedy = "delete it if no setting has changed since, or use another --few_shot_folder"
    before = read_json(stamp, remedy=remedy) if stamp.is_file() else settings
    changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    if changed:
        raise UserFault(
            f"few-shot curve: '{curve.folder}' holds runs with other settings ({', '.join(changed)} changed); use the "
            "former ones, or another --few_shot_folder."
        )
    curve.folder.mkdir(parents=True, exist_ok=True)
    write_text(stamp, json.dumps(settings, indent=1))


def _draw(run: Run, subset: Subset) -> str | None:
    """Write the run's splits.json; returns its note."""
    splits = subset(run.curve.bundle.config("splits.json"), run.cases, run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_text(run.folder / "splits.json", json.dumps(splits, indent=1))
    return splits.get("note")


def _row(run: Run, training: Mapping[str, Any]) -> Row:
    curve = run.curve
    part = curve.overrides.get("part", "validation")
    metrics = read_json(run.folder / part / "metrics.json", remedy="run the same command again")
    dice = {entry["label"]: entry["mean"] for entry in metrics["summary"] if entry["metric"] == "dice"}
    return Row(
        network=curve.network, cases=run.cases, seed=run.seed, dice=dice.pop("mean"), dice_by_class=dice,
        steps=curve.value("epochs") * curve.value("iterations_per_epoch"), **training,
    )  # fmt: skip


def _shown(dice: float | None) -> str:
    return "undefined" if dice is None else f"{dice:.3f}"
