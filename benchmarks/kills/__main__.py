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
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kills.commands import COMMANDS, Command, plan_words, short_training
from benchmarks.kills.stage import RERUN_S, Stage, end_family, finish, living, output_of, remains, start

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
END_S, ORPHAN_S = 60, 30


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
        kill.wrong.append(output_of(stage)[output_of(stage).index("Traceback") :].strip()[:3000])
    _wait_for_orphans(process, kill)


def _wait_for_orphans(process: subprocess.Popen, kill: Kill) -> None:
    deadline = time.monotonic() + ORPHAN_S
    while (orphans := living(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if orphans:
        kill.wrong.append(f"{len(orphans)} processes live on: {' '.join(orphans[0].cmdline())[:150]}")
        end_family(process)


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


def prepare(stage: Stage, commands: list[str]) -> None:
    """The data set, the plan, and a trained bundle where a command needs it."""
    from pgsam_monai.data.phantom import write_phantom

    write_phantom(stage.data, cases=5, slices=6, in_plane=(64, 64), progress=False)
    for folder in (stage.now, stage.temporary, stage.folder / "home"):
        folder.mkdir(parents=True)
    stage.keep("empty")
    for name, words in (("planned", plan_words(stage)), ("trained", short_training(stage))):
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
