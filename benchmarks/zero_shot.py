"""Weights as they are beside each other, asked by simulated users: clicks and boxes per structure and slice.

    python benchmarks/zero_shot.py --weights drawn_tiny,lite_medsam --data /data --folder zero_shot
    python benchmarks/zero_shot.py --weights run/model.safetensors --image_size 128,192,256 --data /data --few
    python benchmarks/zero_shot.py --dataset Task04_Hippocampus --cases 10 --structures anterior=1,posterior=2 \
        --plane sagittal --by_structure
    python benchmarks/zero_shot.py --image ct.nii.gz --label organs.nii.gz --window -160 240 --by_structure \
        --structures spleen=1,right_kidney=2,left_kidney=3,gallbladder=4,liver=5,stomach=6,pancreas=7,aorta=52

Every slice that holds a structure is prompted for it from the reference, each structure for itself. The first click is
random in the structure, each further one goes into the middle of the answer's largest error. Dice is three-dimensional,
on the file's own grid, the mean over structures of their means over cases. A click is obeyed if the answer holds its
pixel, or doesn't where the click was negative; shares are of all clicks so far, of all slices and structures.

--folder keeps every case, and the same command goes on after an interruption; weights of other bytes are measured anew.
Prints tables in Markdown, --table alone those of what is there already.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]

from prompting.models import Contender, load_contender  # noqa: E402
from prompting.report import dice_table, obeyed_table, structure_table  # noqa: E402
from prompting.sets import SETS, MeasuredSet, find_cases, named_case  # noqa: E402

from pgsam_monai.base.command_line import told  # noqa: E402
from pgsam_monai.base.files import write_text  # noqa: E402
from pgsam_monai.evaluation.interaction.evaluate import measure_cases  # noqa: E402
from pgsam_monai.evaluation.interaction.measure import InteractionSettings  # noqa: E402
from pgsam_monai.evaluation.interaction.scores import CaseScores  # noqa: E402
from pgsam_monai.training.preparing import keep_freed_memory  # noqa: E402

FEW_CASES, FEW_SLICES = 2, 4
FEEDBACK = {"auto": None, "yes": True, "no": False}


def main() -> None:
    arguments = read_arguments()
    keep_freed_memory()
    settings = InteractionSettings(
        clicks=arguments.clicks, seeds=arguments.seeds, mask_feedback=FEEDBACK[arguments.mask_feedback]
    )
    contenders = contenders_of(arguments)
    for measured, cases in chosen_sets(arguments):
        rows = {}
        for contender in contenders:
            place = arguments.folder / measured.name / place_of(contender, arguments)
            if not arguments.table:
                measure(contender, measured, cases, settings, place, arguments)
            rows[contender.label] = read_cases(place, [case["name"] for case in cases])
        print(f"\n### {measured.name}\n{heading(measured, arguments)}\n")
        tables = [dice_table, obeyed_table, *([structure_table] if arguments.by_structure else [])]
        print("\n\n".join(table(rows, settings.clicks) for table in tables), flush=True)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", default="lite_medsam", help="names of `pgsam weights list`, or files, with commas")
    add("--backbone", default="vit_tiny", help="of files")
    add("--unit_scale", action="store_true", help="files were trained on 0 to 1, not SAM's pixel statistics")
    add(
        "--image_size",
        type=numbers,
        help="sides of the input, with commas; else what weights know, files 256",
    )
    add("--data", type=Path, help="the folder of all sets")
    add("--sets", type=words, default=list(SETS), help=f"of {','.join(SETS)}")
    add("--image", type=Path, help="or one case's image")
    add("--label", type=Path, help="and its label map")
    add("--dataset", type=Path, help="or a folder with imagesTr and labelsTr")
    add("--structures", type=words, help="of --image and --dataset: name=value,…")
    add("--window", type=float, nargs=2, help="of these: grey values that become 0 and 1")
    add("--plane", help="of these: axial, coronal or sagittal")
    add("--cases", type=int, help="at most so many of each set, in order of their names")
    add(
        "--slices_per_case",
        type=int,
        help="at most so many, evenly spaced over those with a structure; else all",
    )
    add("--few", action="store_true", help=f"{FEW_CASES} cases a set, {FEW_SLICES} slices a case")
    add("--clicks", type=numbers, default=(1, 2, 3, 5, 8), help="after how many per slice")
    add("--seeds", type=numbers, default=(0,), help="of the users")
    add(
        "--mask_feedback", choices=FEEDBACK, default="auto",
        help="the latest answer goes in as a mask with a further click; auto: by what the weights know, for files yes",
    )  # fmt: skip
    add("--precision", default="auto", help="fp32, bf16 or auto")
    add("--folder", type=Path, default=Path("zero_shot"), help="a file per case")
    add("--table", action="store_true", help="measure nothing")
    add("--by_structure", action="store_true", help="tables of single structures, too")
    arguments = parser.parse_args()
    if arguments.few:
        arguments.cases = arguments.cases or FEW_CASES
        arguments.slices_per_case = arguments.slices_per_case or FEW_SLICES
    arguments.clicks = tuple(sorted(arguments.clicks))
    if not (arguments.data or arguments.image or arguments.dataset):
        parser.error("name what is measured: --data, --dataset, or --image and --label")
    if (arguments.image or arguments.dataset) and not arguments.structures:
        parser.error("--image and --dataset need --structures")
    return arguments


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def contenders_of(arguments: argparse.Namespace) -> list[Contender]:
    """Each of the weights at each size."""
    found = [
        Contender(
            weights=weights, image_size=size, backbone=arguments.backbone, unit_scale=arguments.unit_scale
        )
        for weights, size in product(words(arguments.weights), arguments.image_size or (None,))
    ]
    labels = [contender.label for contender in found]
    if len(set(labels)) < len(labels):
        sys.exit(f"--weights: several would be called the same ({', '.join(labels)}); rename their folders.")
    return found


def chosen_sets(arguments: argparse.Namespace) -> list[tuple[MeasuredSet, list[dict[str, str]]]]:
    """Sets and their cases."""
    if arguments.image or arguments.dataset:
        found = [given_set(arguments)]
    else:
        unknown = set(arguments.sets) - set(SETS)
        if unknown:
            sys.exit(f"--sets: {', '.join(sorted(unknown))} is none of {', '.join(SETS)}")
        found = [(SETS[name], find_cases(SETS[name], arguments.data)) for name in arguments.sets]
    return [(measured, cases[: arguments.cases]) for measured, cases in found]


def given_set(arguments: argparse.Namespace) -> tuple[MeasuredSet, list[dict[str, str]]]:
    """One that isn't in the table of sets."""
    pairs = (entry.partition("=") for entry in arguments.structures)
    folder = arguments.dataset or arguments.image.parent
    measured = MeasuredSet(
        name=folder.resolve().name, folder=str(folder), cases=0, title=str(folder), plane=arguments.plane,
        structures={name: int(value) for name, _, value in pairs},
        window=tuple(arguments.window) if arguments.window else None,
    )  # fmt: skip
    if arguments.image:
        return measured, [named_case(arguments.image.name.split(".")[0], arguments.image, arguments.label)]
    images = sorted((folder / "imagesTr").glob("[!.]*.nii.gz"))
    return measured, [
        named_case(image.name.removesuffix(".nii.gz"), image, folder / "labelsTr" / image.name)
        for image in images
    ]


def place_of(contender: Contender, arguments: argparse.Namespace) -> str:
    """The folder of one contender's cases on a set: other slices or masks are other figures."""
    slices = f"_{arguments.slices_per_case}_slices" if arguments.slices_per_case else ""
    masks = {"auto": "", "yes": "_masks", "no": "_no_masks"}[arguments.mask_feedback]
    return f"{contender.label}{slices}{masks}"


def measure(
    contender: Contender,
    measured: MeasuredSet,
    cases: Sequence[dict[str, str]],
    settings: InteractionSettings,
    place: Path,
    arguments: argparse.Namespace,
) -> None:
    """Whatever isn't measured yet."""
    digest, started = contender.digest(), time.monotonic()
    facts = {"weights_sha256": digest, "precision": arguments.precision}
    claim(place, facts | {"clicks": settings.clicks, "seeds": settings.seeds})
    model = load_contender(
        contender, measured, precision=arguments.precision, slices_per_case=arguments.slices_per_case
    )

    def say(line: str) -> None:
        print(f"{contender.label}, {measured.name}: {line}", file=sys.stderr, flush=True)

    measure_cases(model, cases, settings, folder=place / "cases", weights_hash=digest, say=say)
    say(f"{time.monotonic() - started:.0f} s")


def claim(place: Path, facts: dict) -> None:
    """Cases that were measured with other weights or settings go: a table must never mix them."""
    about, content = place / "about.json", json.dumps(facts, indent=1) + "\n"
    if about.is_file() and about.read_text() == content:
        return
    for file in (place / "cases").glob("*.json"):
        file.unlink()
    place.mkdir(parents=True, exist_ok=True)
    write_text(about, content)


def read_cases(place: Path, names: Sequence[str]) -> list[CaseScores]:
    """Those of the cases that were measured."""
    files = (place / "cases" / f"{name}.json" for name in names)
    return [CaseScores.from_json(json.loads(file.read_text())) for file in files if file.is_file()]


def heading(measured: MeasuredSet, arguments: argparse.Namespace) -> str:
    some = arguments.slices_per_case
    only = (
        f"; Dice over at most {some} slices of each case alone, evenly spaced, and what these hold"
        if some
        else ""
    )
    return f"{measured.title}; {len(measured.structures)} structure(s){only}"


if __name__ == "__main__":
    with told("zero_shot"):
        main()
