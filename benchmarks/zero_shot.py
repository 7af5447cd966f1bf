"""Published weights as they are, asked by simulated users: a box or points per structure and slice, Dice of each.

    python benchmarks/zero_shot.py --image ct.nii.gz --label organs.nii.gz --window -160 240 \
        --structures spleen=1,right_kidney=2,left_kidney=3,gallbladder=4,liver=5,stomach=6,pancreas=7,aorta=52
    python benchmarks/zero_shot.py --dataset Task04_Hippocampus --cases 10 --structures anterior=1,posterior=2 \
        --plane sagittal

Every slice that holds a structure is prompted for it from the reference, each structure for itself; Dice is
three-dimensional, on the file's own grid. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pgsam_monai.evaluation.interaction.measure import InteractionSettings, measure_interaction  # noqa: E402
from pgsam_monai.interactive.zero_shot import load_zero_shot  # noqa: E402
from pgsam_monai.training.preparing import keep_freed_memory  # noqa: E402

PROMPTS = ("box", "box 0.75", "box 0.5", "1 click", "3 points")


def main() -> None:
    arguments = read_arguments()
    keep_freed_memory()
    structures = {
        name: int(value) for name, _, value in (entry.partition("=") for entry in arguments.structures)
    }
    model = load_zero_shot(
        arguments.weights, structures, window=arguments.window, plane=arguments.plane,
        image_size=arguments.image_size, device="cpu", precision=arguments.precision,
    )  # fmt: skip
    dice: dict[tuple[str, str], list[float]] = {}
    started, cases = time.monotonic(), find_cases(arguments)
    for case in cases:
        measured = measure_interaction(
            model,
            case,
            InteractionSettings(clicks=(1,), seeds=(arguments.seed,)),
            progress=tell(case["name"]),
        )
        for score in measured.scores:
            dice.setdefault((score.label, score.prompts), []).append(score.dice)
    print(
        f"\n{arguments.weights} at {model.image_size}, {len(cases)} cases, {time.monotonic() - started:.0f} s\n"
    )
    print("| structure | " + " | ".join(PROMPTS) + " |")
    print("|---" * (1 + len(PROMPTS)) + "|")
    table = {
        name: [mean(dice[name, kind]) for kind in PROMPTS]
        for name in structures
        if (name, PROMPTS[0]) in dice
    }
    table["mean"] = [mean(column) for column in zip(*table.values(), strict=True)]
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="lite_medsam", help="a name of `pgsam weights list`")
    parser.add_argument("--image", type=Path, help="one case's image")
    parser.add_argument("--label", type=Path, help="and its label map")
    parser.add_argument("--dataset", type=Path, help="or a folder with imagesTr and labelsTr")
    parser.add_argument(
        "--cases", type=int, default=10, help="how many of the folder's, in order of their names"
    )
    parser.add_argument("--structures", type=lambda text: text.split(","), required=True, help="name=value,…")
    parser.add_argument("--window", type=float, nargs=2, help="grey values that become 0 and 1")
    parser.add_argument("--plane", help="axial, coronal or sagittal")
    parser.add_argument("--image_size", type=int, help="side of the network's input")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or auto")
    parser.add_argument("--seed", type=int, default=0, help="of the users")
    return parser.parse_args()


def find_cases(arguments: argparse.Namespace) -> list[dict]:
    if arguments.image:
        return [{"name": arguments.image.stem, "image": str(arguments.image), "label": str(arguments.label)}]
    images = sorted((arguments.dataset / "imagesTr").glob("[!.]*.nii.gz"))[: arguments.cases]
    return [
        {"name": image.name, "image": str(image), "label": str(arguments.dataset / "labelsTr" / image.name)}
        for image in images
    ]


def tell(name: str):
    def progress(done: int, total: int) -> None:
        print(f"\r{name}: {done} of {total} slices", end="", file=sys.stderr, flush=True)

    return progress


if __name__ == "__main__":
    main()
