"""Kills the commands at random moments, runs each again, and compares with a run that nobody disturbed.

    python -m benchmarks.kills                                          # 200 kills, over an hour on one core
    python -m benchmarks.kills --kills 60 --commands plan,predict --seed 1

Each kill: the files as they were before, the command, after a random time SIGKILL, SIGTERM or SIGINT in turn, and the
same command once more, which must end well, with the undisturbed run's result, and leave nothing behind: no partial or
temporary file, no process. SIGTERM and SIGINT must end the command without a traceback. Wrong ones are listed at the
end, each with the moment that repeats it, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.kills_label import use

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
NETWORK, DATASET = "unet", "phantom"
TINY = (
    "image_size=64", "epochs=3", "iterations_per_epoch=3", "batch_size=2", "num_workers=0", "warmup_iterations=0",
    "val_interval=1",
)  # fmt: skip
END_S, RERUN_S, ORPHAN_S = 60, 300, 15
PORT = int(os.environ.get("PORT", 8741))
REMAINS = (".partial", ".tmp", ".lock~", ".part", "label-maps-")
PGSAM = [sys.executable, "-m", "pgsam_monai.commands.main"]
PLAN = [sys.executable, "-m", "preprocess.commands.main"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The folder that everything happens in: `now` is worked on, `before` has how it was for each command."""

    folder: Path

    @property
    def now(self) -> Path:
        return self.folder / "now"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def bundle(self) -> Path:
        return self.now / f"bundles/{NETWORK}_{DATASET}"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def keep(self, name: str) -> None:
        """Remember the files as they are now under this name."""
        shutil.rmtree(self.folder / "before" / name, ignore_errors=True)
        shutil.copytree(self.now, self.folder / "before" / name, symlinks=True)

    def reset(self, name: str) -> None:
        """Everything as it was then, and no temporary files."""
        for folder in (self.now, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / "before" / name, self.now, symlinks=True)
        self.temporary.mkdir()


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is killed."""

    words: Callable[[Stage], list[str]]
    again: Callable[[Stage], list[str]] | None = None
    """how it goes on, if that takes other words"""
    before: str = "planned"
    """the files that it starts from: "empty", "planned" or "trained" """
    result: Callable[[Stage], dict[str, str]]
    """file -> digest of what matters in it"""
    window: Callable[[Stage], bool] | None = None
    """kills wait until this holds; None: from the start"""
    client: Callable[[Stage, subprocess.Popen], None] | None = None
    """uses the command, a server, from a thread, and stops it"""


@dataclass(kw_only=True)
class Kill:
    """One kill, and what was wrong after it."""

    command: str
    how: signal.Signals
    after_s: float
    finished: bool = False
    """the command ended before it was killed"""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.command}, {self.how.name} after {self.after_s:.2f} s: {'; '.join(self.wrong)}"


# What a run comes to


def files_of(folder: Path, *, skip: tuple[str, ...] = ()) -> dict[str, str]:
    """Digests of all files below a folder but those with such parts in their paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {str(path.relative_to(folder)): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not any(part in name for part in skip)
    }


def model_of(file: Path) -> dict[str, str]:
    """Digest of the tensors in a file of torch's, whose bytes depend on the name that it was written under."""
    import torch

    state = torch.load(file, weights_only=True)
    state = state.get("model", state)
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode() + (value.numpy().tobytes() if isinstance(value, torch.Tensor) else b""))
    return {str(file.name): digest.hexdigest()}


def curve_of(folder: Path) -> dict[str, str]:
    """The rows of a curve's table, without their times."""
    rows = (folder / "few_shot.csv").read_text().splitlines()
    return {row.split(",wall_s")[0]: "" for row in rows[:1]} | {
        ",".join(row.split(",")[:3]): ",".join(row.split(",")[3:-3]) for row in rows[1:]
    }


def _plan(stage: Stage) -> list[str]:
    wishes = [word for wish in TINY for word in ("--override", wish)]
    places = ["--plans_dir", str(stage.now / "plans"), "--bundles_dir", str(stage.now / "bundles")]
    return [*PLAN, str(stage.data), "--name", DATASET, "--networks", NETWORK, "--target", "cpu", "--memory_gb", "6",
            "--workers", "2", *wishes, *places]  # fmt: skip


def _train(stage: Stage, *more: str) -> list[str]:
    return [*PGSAM, "train", str(stage.bundle), "--device", "cpu", *more]


def _short(stage: Stage) -> list[str]:
    return _train(stage, "--epochs", "1", "--iterations_per_epoch", "1")


def _store(stage: Stage) -> Path:
    return stage.bundle / "store"


def _use_server(stage: Stage, server: subprocess.Popen) -> None:
    use(server, f"http://127.0.0.1:{PORT}", stage.bundle.name, "img0001", stage.now / "answer/after.nii.gz")


COMMANDS = {
    "plan": Command(
        words=_plan, before="empty",
        result=lambda stage: files_of(stage.now, skip=("report.html", ".facts", ".bak", ".lock")),
    ),
    "fill": Command(
        words=_short, window=lambda stage: _store(stage).is_dir(),
        result=lambda stage: files_of(_store(stage), skip=(".lock",)) | model_of(stage.bundle / "models/model.pt"),
    ),
    "train": Command(
        words=_train, again=lambda stage: _train(stage, "--resume"),
        result=lambda stage: model_of(stage.bundle / "models/model.pt")
        | model_of(stage.bundle / "models/checkpoint_last.pt"),
    ),
    "predict": Command(
        words=lambda stage: [*PGSAM, "predict", str(stage.bundle), str(stage.data / "img"),
        str(stage.now / "predictions"),
                             "--device", "cpu", "--overlays", "--html"],
        before="trained", result=lambda stage: files_of(stage.now / "predictions", skip=(".html", ".pgsam")),
    ),
    "curve": Command(
        words=lambda stage: _train(stage, "--few_shot_curve", "1,2", "--seeds", "1", "--epochs", "2"),
        result=lambda stage: curve_of(stage.bundle / "eval/few_shot"),
    ),
    "label": Command(
        words=lambda stage: [*PGSAM, "label", str(stage.bundle), "--studies", str(stage.now / "studies"), "--port",
                             str(PORT), "--app_dir", str(stage.now / "app")],
        before="trained", client=_use_server, result=lambda stage: files_of(stage.now / "answer"),
    ),
}  # fmt: skip


# One run, one kill


def start(stage: Stage, words: list[str], client: Callable | None) -> subprocess.Popen:
    environment = os.environ | {
        "TMPDIR": str(stage.temporary),
        "OMP_NUM_THREADS": "1",
        "HOME": str(stage.folder / "home"),
    }
    output = (stage.folder / "output.txt").open("wb")
    with output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
    if client:
        threading.Thread(target=client, args=(stage, process), daemon=True).start()
    return process


def output_of(stage: Stage) -> str:
    return (stage.folder / "output.txt").read_text(errors="replace")


def finish(stage: Stage, words: list[str], client: Callable | None = None) -> str | None:
    """Run a command to its end; what was wrong with that, if anything."""
    process = start(stage, words, client)
    try:
        status = process.wait(RERUN_S)
    except subprocess.TimeoutExpired:
        end_family(process)
        return f"the rerun didn't end within {RERUN_S} s"
    return (
        None if status == 0 or client else f"the rerun ended with {status}: {output_of(stage).strip()[-300:]}"
    )


def living(session: int) -> list[psutil.Process]:
    """Processes of a session that was started by `start`."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def end_family(process: subprocess.Popen) -> None:
    for one in living(process.pid):
        one.kill()
    process.wait()


def begin(stage: Stage, command: Command) -> tuple[subprocess.Popen, float]:
    """A running command, and since when (s, monotonic) it does what is killed."""
    process, began = start(stage, command.words(stage), command.client), time.monotonic()
    while command.window and not command.window(stage) and process.poll() is None:
        time.sleep(0.005)
    return process, time.monotonic() if command.window else began


def disturb(stage: Stage, command: Command, kill: Kill) -> None:
    """Run a command and kill it; what is wrong at once is noted."""
    process, began = begin(stage, command)
    try:
        process.wait(max(0.0, kill.after_s - (time.monotonic() - began)))
        kill.finished = True
    except subprocess.TimeoutExpired:
        if kill.how is signal.SIGINT:
            os.killpg(process.pid, kill.how)  # as a terminal does
        else:
            os.kill(process.pid, kill.how)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        kill.wrong.append(f"lives on {END_S} s after {kill.how.name}")
    if kill.how is not signal.SIGKILL and not kill.finished and "Traceback" in output_of(stage):
        kill.wrong.append(f"traceback: {output_of(stage).strip().splitlines()[-1][:200]}")
    _wait_for_orphans(process, kill)


def _wait_for_orphans(process: subprocess.Popen, kill: Kill) -> None:
    deadline = time.monotonic() + ORPHAN_S
    while (orphans := living(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if orphans:
        kill.wrong.append(f"{len(orphans)} processes live on: {' '.join(orphans[0].cmdline())[:150]}")
        end_family(process)


def remains(stage: Stage) -> list[str]:
    """Partial and temporary files, which no run may leave."""
    inside = [path for path in stage.now.rglob("*") if any(mark in path.name for mark in REMAINS)]
    return [str(path.relative_to(stage.folder)) for path in (*inside, *stage.temporary.iterdir())]


def try_kill(stage: Stage, command: Command, one: Kill, expected: dict[str, str], usual: set[str]) -> None:
    """One kill and its rerun."""
    stage.reset(command.before)
    disturb(stage, command, one)
    words = command.words if one.finished else command.again or command.words
    fault = finish(stage, words(stage), command.client)
    if fault:
        one.wrong.append(fault)
        return
    got = command.result(stage)
    if got != expected:
        differing = [name for name in sorted({*got, *expected}) if got.get(name) != expected.get(name)]
        one.wrong.append(f"another result: {', '.join(differing[:4])}")
    if left := [name for name in remains(stage) if name not in usual]:
        one.wrong.append(f"left behind: {', '.join(left[:4])}")


# All of them


def prepare(stage: Stage, commands: list[str]) -> None:
    """The data set, the plan, and a trained bundle where a command needs it."""
    from pgsam_monai.data.phantom import write_phantom

    write_phantom(stage.data, cases=5, slices=6, in_plane=(64, 64), progress=False)
    for folder in (stage.now, stage.temporary, stage.folder / "home"):
        folder.mkdir(parents=True)
    stage.keep("empty")
    for name, words in (("planned", _plan(stage)), ("trained", _short(stage))):
        if any(COMMANDS[command].before == name for command in commands) or name == "planned":
            if fault := finish(stage, words):
                sys.exit(f"kills: preparing failed: {fault}")
            for image in (stage.data / "img").iterdir():
                label = stage.data / "label" / image.name.replace("img", "label")
                studied = stage.now / "studies" / image.name, stage.now / "studies/labels/final" / image.name
                for file, place in zip((image, label), studied, strict=True):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
            stage.keep(name)


def undisturbed(stage: Stage, command: Command) -> tuple[dict[str, str], float, set[str]]:
    """The right result, how long the command takes, or its window does (s), and what it leaves anyway."""
    stage.reset(command.before)
    process, began = begin(stage, command)
    if process.wait(RERUN_S) and not command.client:
        sys.exit(f"kills: the undisturbed run failed: {output_of(stage)[-2000:]}")
    result = command.result(stage)
    if not result:
        sys.exit(f"kills: the undisturbed run has no result: {output_of(stage)[-2000:]}")
    return result, time.monotonic() - began, set(remains(stage))


def all_kills(stage: Stage, names: list[str], kills: int, seed: int) -> Iterator[Kill]:
    rng = random.Random(seed)
    for place, name in enumerate(names):
        expected, takes_s, usual = undisturbed(stage, COMMANDS[name])
        print(f"{name}: {takes_s:.1f} s undisturbed, leaves {sorted(usual) or 'nothing'}", flush=True)
        for number in range(kills * place // len(names), kills * (place + 1) // len(names)):
            one = Kill(command=name, how=SIGNALS[number % 3], after_s=rng.uniform(0.1, takes_s))
            try_kill(stage, COMMANDS[name], one, expected, usual)
            print(f"{'wrong' if one.wrong else 'right'}: {one}", flush=True)
            yield one


def table(done: list[Kill], names: list[str]) -> str:
    lines = ["| command | signal | kills | ended before | right | wrong |", "|---|---|---|---|---|---|"]
    for name in names:
        for how in SIGNALS:
            some = [kill for kill in done if (kill.command, kill.how) == (name, how)]
            counts = Counter(bool(kill.wrong) for kill in some)
            early = sum(kill.finished for kill in some)
            lines.append(
                f"| {name} | {how.name} | {len(some)} | {early} | {counts[False]} | {counts[True]} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="an empty folder; a temporary one by default")
    given = parser.parse_args()
    names = given.commands.split(",")
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        stage = Stage(folder=(given.work or Path(scratch)).resolve())
        prepare(stage, names)
        done = list(all_kills(stage, names, given.kills, given.seed))
    wrong = [kill for kill in done if kill.wrong]
    print(table(done, names), *wrong, sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
