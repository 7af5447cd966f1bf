"""Table 4 of the H-SAM paper on drawn phantoms: its eight rows and their neighbours, several seeds, the same steps.

    python benchmarks/hsam_ablation.py --folder hsam_ablation --seeds 0,1,2

Draws 30 phantom abdomens (shapes, not patients), plans them for a CPU, and trains every row from random weights with
every seed, keeping the last network, so that the held-out cases have no say. The neighbours are SAMed of the same plan,
Table 5's binary mask attention alone and within the whole, and the whole without class-balanced noise. Each trained
H-SAM is measured twice: by its second stage alone and, as in the paper, by the mean of both stages' probabilities.
Every finished run is kept in results.json of the folder; started again, the script goes on. Prints two tables in
Markdown: mean Dice over all structures, and over the four that fill the fewest voxels, which the paper says gain.
"""

from __future__ import annotations

import argparse
import re
import statistics

from ablation import MEAN, Outcome, Row, make_parser, prepare, print_table, run_rows, smallest_classes

TABLE_4 = (
    ("none", False, False),
    ("learnable", False, False),
    ("learnable", True, False),
    ("none", True, False),
    ("none", True, True),
    ("none", False, True),
    ("learnable", False, True),
    ("learnable", True, True),
)
"""mask_attention, pixel_decoder, class_attention; numbered from 1 as the bundle's overlays are."""
SMALLEST = 4
"""Structures of the second table."""


def main() -> None:
    arguments = read_arguments()
    rows = [row for row in make_rows() if re.search(arguments.rows, row.title)]
    if not rows:
        raise SystemExit(
            f"--rows: no row's title matches '{arguments.rows}'; {[row.title for row in make_rows()]}"
        )
    experiment = prepare(arguments, networks=("hsam", "samed"))
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("all structures", rows, experiment, lambda outcome: outcome.dice[MEAN])
    tail = smallest_classes(experiment.folder / "plans/phantom/plan.json", SMALLEST)
    print_table(f"mean of {', '.join(tail)}", rows, experiment, lambda outcome: mean_dice(outcome, tail))


def read_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, folder="hsam_ablation")
    parser.add_argument("--rows", default="", help="regular expression; only rows whose title it finds")
    return parser.parse_args()


def make_rows() -> list[Row]:
    """SAMed, the paper's eight rows, the binary mask attention of Table 5, the whole without noise; both ensembles."""
    trained = [
        *(switched(f"{number} ", *parts) for number, parts in enumerate(TABLE_4, start=1)),
        switched("", "binary", False, False),
        switched("", "binary", True, True),
        switched("8 ", "learnable", True, True, noise_std=0),
    ]
    return [Row(title="SAMed", network="samed"), *trained, *map(averaged, trained)]


def averaged(row: Row) -> Row:
    """The same trained networks, measured by the mean of both stages' probabilities."""
    return Row(
        title=f"{row.title}; mean of both stages",
        network=row.network,
        overrides={**row.overrides, "network_def#ensemble": "mean"},
        trained_as=row.title,
    )


def switched(
    prefix: str, mask_attention: str, pixel_decoder: bool, class_attention: bool, **others: object
) -> Row:
    """H-SAM with these parts, titled by what is on."""
    parts = {
        "mask attention": mask_attention == "learnable",
        "binary mask attention": mask_attention == "binary",
        "pixel decoder": pixel_decoder,
        "class attention": class_attention,
    }
    on = ", ".join(name for name, used in parts.items() if used) or "two stages alone"
    values = {
        "mask_attention": mask_attention, "pixel_decoder": pixel_decoder, "class_attention": class_attention,
        "ensemble": "second", **others,
    }  # fmt: skip
    return Row(
        title=prefix + on + "".join(f", {name} {value}" for name, value in others.items()),
        network="hsam",
        overrides={f"network_def#{name}": value for name, value in values.items()},
    )


def mean_dice(outcome: Outcome, structures: list[str]) -> float:
    return statistics.mean(outcome.dice[name] for name in structures)


if __name__ == "__main__":
    main()
