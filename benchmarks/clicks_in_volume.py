"""How structures grow right by a few clicks in the whole volume, from nothing or from what a network predicted.

    python benchmarks/clicks_in_volume.py --data /data --sets hippocampus,synapse
    python benchmarks/clicks_in_volume.py --data /data --ways drawn_tiny,lite_medsam:ask,brush --cases 2
    python benchmarks/clicks_in_volume.py --data /data --sets synapse --predictions bundles/samed_x/eval/predictions
    python benchmarks/clicks_in_volume.py --data /data --ways drawn_tiny --through label --cases 2

A way is the name of published weights, by itself or with `:ask` (every click is a question about its slice, as in
SAM, and changes that slice alone), or `brush`: a ball with the radius that just fits into the error. Each click goes
into the middle of the largest error of a structure in the whole volume (`evaluation/interaction/users.py`), structures
one by one. With --predictions only cases that have a prediction are measured, and clicks correct it. With --through the
same users click over HTTP, against `pgsam label --labels …` or `pgsam click`, and every answer is compared with that of
`Segmenter` in Python to the same clicks. Every finished case is kept in --folder; the same command goes on. Prints a
table in Markdown: Dice, means over structures of their means over cases; how often a click lowered it by more than
0.001; seconds of the first and of later answers, medians; voxels that differ from Python's, of all answers together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from doors.opening import DOORS, PYTHON, Recorded, opened  # noqa: E402
from prompting.sets import SETS, MeasuredSet, find_cases  # noqa: E402

from pgsam_monai.base.files import write_text  # noqa: E402
from pgsam_monai.base.volume import Volume, read_label  # noqa: E402
from pgsam_monai.evaluation.interaction.whole_volume import (  # noqa: E402
    BrushAnswers,
    Clickable,
    ClickedStructure,
    SegmenterAnswers,
    click_structure,
    mean_of,
)
from pgsam_monai.interactive.chosen_way import ASKING, SPREADING  # noqa: E402
from pgsam_monai.interactive.segmenter import Segmenter  # noqa: E402

BRUSH = "brush"
SHOWN = (0, 1, 2, 3, 5, 10)


class Measured(NamedTuple):
    """One structure of one case."""

    structure: ClickedStructure
    differing: int | None
    """voxels, of all answers together, that aren't as in Python; None where it was Python that answered"""


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    for name in arguments.sets:
        measured = SETS[name]
        rows = {way: measure(measured, way, arguments) for way in arguments.ways}
        print(f"\n### {measured.title}\n")
        print_rows(rows, [number for number in SHOWN if number <= arguments.clicks])


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder of all sets")
    add("--sets", type=words, default=["hippocampus", "synapse"], help=f"of {','.join(SETS)}")
    add("--ways", type=words, default=["drawn_tiny", "drawn_tiny:ask", BRUSH], help="with commas, see above")
    add("--predictions", type=Path, help="folder of label maps that are corrected, named as the cases")
    add("--through", choices=DOORS, default=PYTHON, help="how the users reach who answers")
    add("--cases", type=int, help="at most so many")
    add("--clicks", type=int, default=10, help="per structure")
    add("--threads", type=int, default=1)
    add("--folder", type=Path, default=Path("clicks_in_volume"), help="a file per case")
    arguments = parser.parse_args()
    if arguments.through != PYTHON:
        if arguments.predictions is not None:
            parser.error("--predictions are corrected in Python alone.")
        if any(way == BRUSH or ":" in way for way in arguments.ways):
            parser.error(
                f"--through {arguments.through} takes names of weights alone, as in --ways drawn_tiny."
            )
    return arguments


def words(text: str) -> list[str]:
    return text.split(",")


def measure(measured: MeasuredSet, way: str, arguments: argparse.Namespace) -> list[Measured]:
    """All structures of the set's cases, or what an earlier command found."""
    start = "nothing" if arguments.predictions is None else str(arguments.predictions.resolve())
    found, door = [], arguments.through
    for case, prediction in list(cases_of(measured, arguments))[: arguments.cases]:
        answers = way.replace(":", "_") if door == PYTHON else f"{way}_through_{door}"
        file = arguments.folder / f"{measured.name}_{answers}_{case['name']}.json"
        facts = {"start": start, "clicks": arguments.clicks, "way": way}
        kept = json.loads(file.read_text()) if file.is_file() else {"facts": None}
        if kept["facts"] != facts:
            own = list(measure_case(measured, way, case, prediction, arguments))
            kept = {"facts": facts, "structures": [asdict(one.structure) for one in own],
                    "differing": [one.differing for one in own]}  # fmt: skip
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(kept))
        different = kept.get("differing") or [None] * len(kept["structures"])
        found += [
            Measured(ClickedStructure(**one), count)
            for one, count in zip(kept["structures"], different, strict=True)
        ]
        print(f"{measured.name}, {way}, {case['name']} measured", file=sys.stderr, flush=True)
    return found


def cases_of(
    measured: MeasuredSet, arguments: argparse.Namespace
) -> Iterator[tuple[dict[str, str], Path | None]]:
    """Cases, each with its prediction, if predictions are corrected."""
    if arguments.predictions is None:
        yield from ((case, None) for case in find_cases(measured, arguments.data))
        return
    every = MeasuredSet(**{**asdict(measured), "cases": None})
    for case in find_cases(every, arguments.data):
        file = arguments.predictions / f"{case['name']}.nii.gz"
        if file.is_file():
            yield case, file


def measure_case(
    measured: MeasuredSet,
    way: str,
    case: dict[str, str],
    prediction: Path | None,
    arguments: argparse.Namespace,
) -> Iterator[Measured]:
    label = read_label(case["label"])
    shown = np.zeros_like(label.voxels[0]) if prediction is None else read_label(str(prediction)).voxels[0]
    in_python = python_answers(measured, way, case, shown, label.spacing)
    if arguments.through == PYTHON:
        for name in held(measured, label.voxels[0]):
            yield Measured(
                click_on(in_python(name), label, measured, name, way, case, arguments.clicks), None
            )
        return
    with opened(arguments.through, measured, way, case, threads=arguments.threads) as door:
        for name in held(measured, label.voxels[0]):
            answers = Recorded(door(name))
            structure = click_on(answers, label, measured, name, way, case, arguments.clicks)
            yield Measured(structure, answers.differing(in_python(name)))


def held(measured: MeasuredSet, voxels: np.ndarray) -> list[str]:
    """Structures that a label map (i, j, k) holds."""
    return [name for name, value in measured.structures.items() if (voxels == value).any()]


def python_answers(
    measured: MeasuredSet, way: str, case: dict[str, str], shown: np.ndarray, spacing: tuple[float, ...]
) -> Callable[[str], Clickable]:
    """Who answers in Python about a structure, by its name."""
    if way == BRUSH:
        return lambda name: BrushAnswers(shown == measured.structures[name], spacing)
    segmenter = make_segmenter(measured, way, case, shown)
    return lambda name: SegmenterAnswers(segmenter, name)


def click_on(
    clickable: Clickable, label: Volume, measured: MeasuredSet, name: str, way: str, case: dict[str, str], clicks: int
) -> ClickedStructure:  # fmt: skip
    return click_structure(
        clickable, label.voxels[0] == measured.structures[name], label.spacing, clicks=clicks, case=case["name"],
        label=name, answers=way,
    )  # fmt: skip


def make_segmenter(measured: MeasuredSet, way: str, case: dict[str, str], shown: np.ndarray) -> Segmenter:
    """Weights that answer clicks about a case; what is shown before counts where there is something."""
    weights, _, kind = way.partition(":")
    segmenter = Segmenter.from_weights(
        weights, measured.structures, window=measured.window, plane=measured.plane, device="cpu",
        corrections=kind or SPREADING, memory_gb=4,
    )  # fmt: skip
    if shown.any():
        if kind == ASKING:
            sys.exit(f"{way}: what is asked anew corrects nothing; leave it out, or --predictions.")
        segmenter = Segmenter(
            segmenter.model, background="everything", finds=lambda image: shown, memory_gb=4
        )
    segmenter.set_image(case["image"])
    return segmenter


def print_rows(rows: dict[str, list[Measured]], numbers: list[int]) -> None:
    heads = ["answers", *map(str, numbers), "AUC", "lowered", "obeyed", "first, s", "later, s", "differing"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for way, measured in rows.items():
        own = [one.structure for one in measured]
        counts = [one.differing for one in measured if one.differing is not None]
        dice = [f"{mean_of(own, lambda one, at=at: one.dice[at]):.3f}" for at in numbers]
        steps = np.diff([one.dice for one in own])
        obeyed, given = sum(one.obeyed for one in own), sum(one.clicks for one in own)
        first, later = ([s for one in own for s in one.seconds[part]] for part in (slice(1), slice(1, None)))
        told = [
            f"{mean_of(own, lambda one: one.area):.3f}", f"{100 * (steps < -0.001).mean():.0f} %",
            f"{100 * obeyed / given:.0f} %", f"{median(first):.2f}", f"{median(later):.2f}",
            str(sum(counts)) if counts else "-",
        ]  # fmt: skip
        print(f"| {way} | {' | '.join([*dice, *told])} |")


if __name__ == "__main__":
    main()
