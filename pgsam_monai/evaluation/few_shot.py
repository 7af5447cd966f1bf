"""The few-shot curve: one training on 1, 3, 5, … labelled cases, several seeds each, measured on the same cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pgsam_monai.base.child_processes import Cost, run_logged
from pgsam_monai.base.cleaning import FILE as POSTPROCESSING
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.base.splits import by_subject
from pgsam_monai.bundle import Bundle
from pgsam_monai.evaluation.few_shot_results import Row, read_row, read_rows, write_results
from pgsam_monai.evaluation.trainings import (
    CONFIGS,
    STAMPED,
    Place,
    Training,
    carry_out,
    check_overrides,
    claim,
    run_each,
)

SERIES = "few-shot curve"
Subset = Callable[[Mapping[str, Any], int, int], dict[str, Any]]
"""(contents of splits.json, cases, seed) -> contents with that many cases in every training list, nested by seed."""

SET_BY_THE_CURVE = ("splits_file", "seed")


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
        return self.training.result

    @property
    def training(self) -> Training:
        own = {"splits_file": self.folder / "splits.json", "seed": self.seed}
        return Training(
            series=SERIES, title=str(self), bundle=self.curve.bundle, folder=self.folder, own=own,
            overrides=self.curve.overrides,
        )  # fmt: skip

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
    check_overrides(overrides, SET_BY_THE_CURVE, series=SERIES)
    folder = Path(folder).resolve() if folder else planned.folder / "eval/few_shot"
    curve = Curve(
        bundle=planned, folder=folder, cases=tuple(cases), seeds=tuple(seeds), overrides=dict(overrides)
    )
    honest = {"model_selection": "last", "val_interval": curve.value("epochs")}
    curve = replace(curve, overrides=honest | dict(overrides))
    _check_numbers(curve)
    files = (*STAMPED, POSTPROCESSING)
    claim(curve.folder, planned, curve.overrides, series=SERIES, flag="--few_shot_folder", files=files)
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
    threads = 1 if parallel > 1 else None

    def tell(run: Run, row: Row) -> str:
        write_results(read_rows(run.curve.folder), run.curve.folder)
        return f"{run}: Dice {_shown(row.dice)} in {row.wall_s:.0f} s"

    run_each(
        every, lambda run: run.result.is_file(), lambda run, _: do_run(run, threads, call), parallel=parallel,
        unit="runs", tell=tell, say=say,
    )  # fmt: skip
    for curve in curves:
        from pgsam_monai.evaluation.few_shot_results import draw_curves

        rows = read_rows(curve.folder)
        write_results(rows, curve.folder)
        draw_curves({curve.network: rows}, curve.folder / "few_shot.png", units=curve.units)


def do_run(run: Run, threads: int | None, call: Callable[..., Cost]) -> Row:
    """Train and measure one run, from where it stands, in processes of their own."""
    carry_out(run.training, lambda cost: asdict(_row(run, cost)), place=Place(threads=threads), call=call)
    return read_row(run.result)


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


def _draw(run: Run, subset: Subset) -> str | None:
    """Write the run's splits.json; returns its note."""
    splits = subset(run.curve.bundle.config("splits.json"), run.cases, run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_text(run.folder / "splits.json", json.dumps(splits, indent=1))
    return splits.get("note")


def _row(run: Run, cost: Mapping[str, Any]) -> Row:
    dice = run.training.dice()
    return Row(
        network=run.curve.network, cases=run.cases, seed=run.seed, dice=dice.pop("mean"), dice_by_class=dice,
        steps=run.training.steps, **cost,
    )  # fmt: skip


def _shown(dice: float | None) -> str:
    return "undefined" if dice is None else f"{dice:.3f}"
