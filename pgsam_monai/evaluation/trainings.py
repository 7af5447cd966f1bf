"""Series of trainings (few-shot curves, cross-validations): each trains and is measured in processes of its own.

Every training has a folder of its own and is finished when `result.json` lies there. The same command thus goes on
after an interruption, SIGKILL included, and a half-trained one after its last epoch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

from pgsam_monai.base.child_processes import Cost, end_running, run_logged
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.locks import hold
from pgsam_monai.bundle import Bundle

CONFIGS = ("train.json", "evaluate.json")
STAMPED = ("train.json", "evaluate.json", "splits.json", "texts.json")
CHECKPOINTS = "checkpoint_*.pt"
"""What it takes to go on: the last one, and its frozen part."""
SET_BY_SERIES = ("ckpt_dir", "output_dir", "resume", "early_stop_epochs", "bundle_root")
"""Values of configs that a series gives each training itself."""

Run, Result = TypeVar("Run"), TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a series."""

    series: str
    """what messages call it all"""
    title: str
    """what they call this one"""
    bundle: Bundle
    folder: Path
    """of models, logs, cost, metrics and predictions"""
    own: Mapping[str, object]
    """values of train.json that it has for itself"""
    overrides: Mapping[str, object]
    """values of train.json or evaluate.json that all of the series have"""

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def checkpoint(self) -> Path:
        """Written after the first epoch and then about once a minute."""
        return self.models / "checkpoint_last.pt"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def part(self) -> str:
        """The cases that it is measured on."""
        return str(self.overrides.get("part", "validation"))

    @property
    def measured(self) -> Path:
        """Where metrics.json and predictions come to lie."""
        return self.folder / self.part

    @property
    def steps(self) -> int:
        """Of the optimiser."""
        values = {**self.bundle.config("train.json"), **self.overrides}
        return values["epochs"] * values["iterations_per_epoch"]

    def dice(self) -> dict[str, float | None]:
        """Class -> mean Dice of the measured cases, "mean" over classes among them; None where no case defines it."""
        metrics = read_json(self.measured / "metrics.json", remedy="run the same command again")
        return {entry["label"]: entry["mean"] for entry in metrics["summary"] if entry["metric"] == "dice"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a training has of the machine."""

    threads: int | None = None
    """None leaves that to the environment"""
    gpu: str | None = None
    """its number as CUDA_VISIBLE_DEVICES has it; None leaves that to the environment"""


def carry_out(
    training: Training, make: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, place: Place,
    call: Callable[..., Cost] = run_logged,
) -> None:  # fmt: skip
    """Train and measure, from where that stands, and write the result.

    Args:
        training: one.
        make: the result of {"wall_s", "cpu_s", "resumed"} of its training.
        place: what its processes have.
        call: runs a command, see `base.child_processes.run_logged`.

    Raises:
        UserFault: a process ended with an error; what was finished before stays.
    """
    cost_file, remedy = training.folder / "training.json", "delete it, then that run is trained again"
    with hold(training.folder) as held:
        if training.result.is_file():  # by an earlier command that was waited for
            return

        def step(run_id: str) -> Cost:
            log = training.folder / f"{run_id}.log"
            try:
                return call(
                    command(training, run_id), log=log, threads=place.threads, gpu=place.gpu, held=held
                )
            except UserFault as fault:
                raise UserFault(
                    f"{training.series}: {run_id} of {training.title} failed with {fault}"
                ) from None

        if not cost_file.is_file():
            resumed = training.checkpoint.is_file()
            write_text(cost_file, json.dumps({**asdict(step("training")), "resumed": resumed}))
        step("evaluating")
        result = made_of(read_json(cost_file, remedy=remedy), make, file=cost_file, remedy=remedy)
        write_text(training.result, json.dumps(result, indent=1))
        for file in training.models.glob(
            CHECKPOINTS
        ):  # several times as large as the network; model.pt stays
            file.unlink()


def command(training: Training, run_id: str) -> list[str]:
    """The command of "training" or "evaluating", as one could type it."""
    bundle = training.bundle
    own, common = (set(bundle.config(name)) for name in ("evaluate.json", "train.json"))
    if run_id == "training":
        known, flags = common, {"resume": True, "early_stop_epochs": 0}
    else:
        # What evaluate.json takes back, such as pretrained weights, is training's alone.
        known, flags = own ^ common, {}
    overrides = {name: value for name, value in training.overrides.items() if _key(name) in known}
    flags |= {"ckpt_dir": training.models, "output_dir": training.folder, **training.own, **overrides}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    name = {"training": "train", "evaluating": "evaluate"}[run_id]
    return [sys.executable, "-m", "pgsam_monai.commands.main", name, str(bundle.folder), *words]


def run_each(
    runs: Sequence[Run], finished: Callable[[Run], bool], do: Callable[[Run, int], Result], *, parallel: int,
    unit: str, tell: Callable[[Run, Result], str], say: Callable[[str], None],
    admit: Callable[[Run], None] = lambda run: None,
) -> None:  # fmt: skip
    """Do what isn't finished, so many at a time; says a line for each as it ends, with the time that is left.

    Args:
        runs: in the order in which they begin.
        finished: whether one is finished already.
        do: does one, in a place from 0 to `parallel` - 1 that no other has meanwhile.
        parallel: places.
        unit: what messages call the runs.
        tell: what is said of one and its result.
        say: hears the lines.
        admit: returns when one may begin.

    Raises:
        UserFault: one failed; those that had begun are finished, no further one is begun.
    """
    todo = [run for run in runs if not finished(run)]
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} {unit} are finished already.")
    started = time.monotonic()
    for done, (run, result) in enumerate(_as_finished(todo, parallel, do, admit), 1):
        told, left = tell(run, result), len(todo) - done
        minutes = (time.monotonic() - started) / done * left / 60
        say(f"{told}; {left} of {len(runs)} {unit} left" + (f", about {minutes:.0f} min" if left else ""))


def _as_finished(
    runs: Sequence[Run], parallel: int, do: Callable[[Run, int], Result], admit: Callable[[Run], None]
) -> Iterator[tuple[Run, Result]]:
    failed, places = Event(), SimpleQueue[int]()
    for place in range(parallel):
        places.put(place)

    def begin(run: Run) -> Result:
        admit(run)
        if failed.is_set():  # this thread is free before the loop below hears of the failure
            raise CancelledError
        place = places.get()
        try:
            return do(run, place)
        except BaseException:
            failed.set()
            raise
        finally:
            places.put(place)

    pool = ThreadPoolExecutor(parallel)
    try:
        futures = {pool.submit(begin, run): run for run in runs}
        for future in as_completed(futures):
            if not isinstance(future.exception(), CancelledError):
                yield futures[future], future.result()
    except (KeyboardInterrupt, SystemExit):
        failed.set()
        end_running()
        raise
    finally:
        pool.shutdown(cancel_futures=True)  # runs that have begun end by themselves and are kept


def check_overrides(overrides: Mapping[str, object], taken: Sequence[str], *, series: str) -> None:
    """Raise UserFault for values that the series sets itself, `taken` and `SET_BY_SERIES`."""
    for name in (*SET_BY_SERIES, *taken):
        if name in overrides:
            raise UserFault(f"{series}: it sets --{name} of every run itself; leave it out.")


def claim(
    folder: Path, bundle: Bundle, overrides: Mapping[str, object], *, series: str, flag: str,
    files: Sequence[str] = STAMPED,
) -> None:  # fmt: skip
    """Stamp a series' folder with what must not change within it; refuse one that was stamped otherwise.

    Args:
        folder: made if missing.
        bundle: that is trained.
        overrides: of all trainings.
        series: what messages call it.
        flag: that names another folder.
        files: of the bundle's configs that must not change.
    """
    settings = {f"--{name}": str(value) for name, value in sorted(overrides.items())}
    for name in files:
        file = bundle.config_file(name)
        if file.is_file():
            settings[f"configs/{name}"] = sha256_of(file)
    stamp = folder / "settings.json"
    remedy = f"delete it if no setting has changed since, or use another {flag}"
    before = read_json(stamp, remedy=remedy) if stamp.is_file() else settings
    changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    if changed:
        raise UserFault(
            f"{series}: '{folder}' holds runs with other settings ({', '.join(changed)} changed); use the former ones, "
            f"or another {flag}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(stamp, json.dumps(settings, indent=1))


def _key(name: str) -> str:
    return name.replace("::", "#").split("#")[0]
