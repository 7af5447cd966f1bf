"""Seconds of clicks in the whole volume, of this checkout's code and of another's, in turns in one run.

    git worktree add ../before v0.1.0
    python benchmarks/clicks_beside_code.py --data /data --sets ct,synapse --beside_code ../before
    python benchmarks/clicks_beside_code.py --data /data --sets ct --beside_code ../before --beside_corrections pull

Each code runs in a process of its own, with this interpreter; both open the image anew for each structure, so that a
first click finds nothing encoded. A user sees what this checkout shows and clicks in the middle of the largest error
(`evaluation/interaction/users.py`); both codes get the same clicks, now the one first, now the other. A time is that of
`add_click` and of the mask that follows. The first structure warms up and isn't counted. Prints medians and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from prompting.sets import SETS, MeasuredSet, find_cases  # noqa: E402

from pgsam_monai.base.volume import Volume, read_label  # noqa: E402
from pgsam_monai.evaluation.interaction.users import next_correction  # noqa: E402
from pgsam_monai.evaluation.interaction.whole_volume import dice_of  # noqa: E402


class Clicked(NamedTuple):
    """One click, answered by both codes, this checkout's first."""

    number: int
    """1 for a structure's first"""
    seconds: tuple[float, float]
    dice: tuple[float, float]


class Code:
    """A checkout's `Segmenter`, in a process of its own."""

    def __init__(self, checkout: Path, weights: str, options: dict[str, Any], *, threads: int) -> None:
        worker = str(Path(__file__).parent / "speed/click_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, worker], env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found = self.ask(begin=weights, options=options, threads=threads)["code"]
        if Path(found).parents[1] != checkout.resolve():
            sys.exit(f"{checkout} holds no pgsam_monai: {found} was imported.")

    def ask(self, **said: Any) -> dict[str, Any]:
        print(json.dumps(said), file=self._process.stdin, flush=True)
        told = self._process.stdout.readline()
        if not told:
            sys.exit("a process ended, see above")
        return json.loads(told)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)


def main() -> None:
    arguments = read_arguments()
    heads = ["set", "clicks", "this code, s", "beside, s", "ratio", "Dice", "beside"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name in arguments.sets:
        clicks = measure(SETS[name], arguments)
        print_row(name, "first", [each for each in clicks if each.number == 1])
        print_row(name, "later", [each for each in clicks if each.number > 1])


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder of all sets")
    add("--sets", type=lambda text: text.split(","), default=["ct", "synapse"], help=f"of {','.join(SETS)}")
    add("--beside_code", type=Path, required=True, help="folder of another checkout")
    add("--weights", default="drawn_tiny", help="of `pgsam weights list`, which both codes know")
    add("--corrections", default="spread", help="of this checkout's Segmenter")
    add("--beside_corrections", default="ask", help="of the other's")
    add("--cases", type=int, default=1, help="of each set")
    add("--clicks", type=int, default=5, help="per structure")
    add("--threads", type=int, default=1)
    return parser.parse_args()


def measure(measured: MeasuredSet, arguments: argparse.Namespace) -> list[Clicked]:
    """All clicks but those of the first structure."""
    options = {"labels": list(measured.structures), "window": measured.window, "plane": measured.plane,
               "device": "cpu", "memory_gb": 4}  # fmt: skip
    ways = ((REPOSITORY, arguments.corrections), (arguments.beside_code, arguments.beside_corrections))
    codes = [
        Code(where, arguments.weights, options | {"corrections": kind}, threads=arguments.threads)
        for where, kind in ways
    ]
    clicks, warm = [], False
    for case in find_cases(measured, arguments.data)[: arguments.cases]:
        label = read_label(case["label"])
        for name, value in measured.structures.items():
            if not (label.voxels[0] == value).any():
                continue
            for code in codes:
                code.ask(image=case["image"])
            own = click(codes, name, value, label, clicks=arguments.clicks, turn=len(clicks))
            clicks += own if warm else []
            warm = True
            print(f"{measured.name}, {case['name']}, {name}", file=sys.stderr, flush=True)
    for code in codes:
        code.close()
    return clicks


def click(
    codes: Sequence[Code], name: str, value: int, label: Volume, *, clicks: int, turn: int
) -> list[Clicked]:
    """On one structure; the image is open."""
    target, given, found = label.voxels[0] == value, [], []
    masks = [np.zeros_like(target) for _ in codes]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "mask.npy"
        for number in range(1, clicks + 1):
            correction = next_correction(masks[0], target, label.spacing, [each.voxel for each in given])
            if correction is None:
                break
            given.append(correction)
            seconds = [0.0, 0.0]
            for who in (0, 1) if (turn + number) % 2 else (1, 0):
                seconds[who] = codes[who].ask(
                    click=correction.voxel, label=name, positive=correction.positive, mask=str(file)
                )["seconds"]
                masks[who] = np.load(file)
            found.append(Clicked(number, tuple(seconds), tuple(dice_of(mask, target) for mask in masks)))
    return found


def print_row(name: str, which: str, clicks: Sequence[Clicked]) -> None:
    own, beside = (median(each.seconds[who] for each in clicks) for who in (0, 1))
    dice = [np.mean([each.dice[who] for each in clicks]) for who in (0, 1)]
    cells = [name, f"{which} ({len(clicks)})", f"{own:.2f}", f"{beside:.2f}", f"{own / beside:.1f}"]
    print(f"| {' | '.join([*cells, *(f'{each:.3f}' for each in dice)])} |", flush=True)


if __name__ == "__main__":
    main()
